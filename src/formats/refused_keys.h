// Keys of a model's JSON files that change the result and that Lorry does not apply.
// Owns: nothing.
// Thread: any. Pure.
#pragma once

#include "base/result.h"
#include "formats/json.h"

namespace lorry::formats {

// An error that names the first such key whose value is not what a plain decoder has. Besides what
// transformers' classes read, these are the keys of other classes: a file that has them describes
// another model, whatever its `architectures` says.
Status RefuseWhatIsNotComputed(const JsonFields& fields);

// The same of a generation_config.json: ways of choosing tokens that no request could ask for.
Status RefuseWhatIsNotSampled(const JsonFields& fields);

}  // namespace lorry::formats

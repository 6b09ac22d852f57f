// Writes a model directory of a known shape with random normal weights, and adapters for it: what
// the benchmarks run on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::bench {

struct Shape {
  std::string_view name;
  std::string_view of;  // the public model that has these sizes
  int hidden;
  int num_layers;
  int num_heads;
  int num_kv_heads;
  int head_dim;
  int ffn;
  int vocab_size;
  bool tied;
  int max_positions;
};

const std::vector<Shape>& Shapes();

struct MakeModelOptions {
  std::string shape = "135m";
  int num_adapters = 8;
  int rank = 16;
  std::string output_dir;
  uint64_t seed = 1;
};

// output_dir/base and output_dir/adapters/a0000 …; refuses to write into a directory that holds
// something else. Directories that it made before with the same options are kept as they are.
Status MakeModel(const MakeModelOptions& options);

}  // namespace lorry::bench

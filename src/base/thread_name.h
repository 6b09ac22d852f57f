// Names the calling thread, as top and gdb show it (15 characters at most).
#pragma once

namespace lorry {

void NameThisThread(const char* name);

}  // namespace lorry

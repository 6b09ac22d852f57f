#include "kernels/isa.h"

#include <atomic>
#include <string>

#include "kernels/table.h"

namespace lorry::kernels {
namespace {

struct IsaEntry {
  Isa isa;
  std::string_view name;
  bool (*available)();
  const KernelTable& (*table)();
};

// In rising order of speed. The builtins look at the operating system's part (XCR0) as well.
constexpr IsaEntry kIsas[] = {
    {Isa::kRef, "ref", [] { return true; }, RefTable},
    {Isa::kPortable, "portable", [] { return true; }, PortableTable},
    {Isa::kAvx2, "avx2",
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, Avx2Table},
    {Isa::kAvx512Bf16, "avx512bf16",
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512bf16");
     },
     Avx512Bf16Table},
};

const IsaEntry& BestEntry() {
  const IsaEntry* best = &kIsas[0];
  for (const IsaEntry& entry : kIsas) {
    if (entry.available()) best = &entry;
  }
  return *best;
}

std::atomic<const IsaEntry*>& Selected() {
  static std::atomic<const IsaEntry*> selected{&BestEntry()};
  return selected;
}

}  // namespace

std::string_view IsaName(Isa isa) {
  for (const IsaEntry& entry : kIsas) {
    if (entry.isa == isa) return entry.name;
  }
  return "?";
}

Isa BestIsa() { return BestEntry().isa; }

Status SelectIsa(std::string_view name) {
  if (name == "auto") name = BestEntry().name;
  std::string available;
  for (const IsaEntry& entry : kIsas) {
    if (!entry.available()) continue;
    if (entry.name == name) {
      Selected().store(&entry, std::memory_order_relaxed);
      return {};
    }
    available += available.empty() ? "" : ", ";
    available += entry.name;
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("no kernels for \"{}\" on this processor: it has {}", name, available));
}

Isa SelectedIsa() { return Selected().load(std::memory_order_relaxed)->isa; }

const KernelTable& Table() { return Selected().load(std::memory_order_relaxed)->table(); }

}  // namespace lorry::kernels

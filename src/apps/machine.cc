#include "apps/machine.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace lorry::apps {
namespace {

std::string ReadAll(const char* path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

int CoresOfCpuMax(const std::string& cpu_max) {
  std::istringstream words(cpu_max);
  double quota_us = 0, period_us = 0;
  if (!(words >> quota_us >> period_us) || quota_us <= 0 || period_us <= 0) return 0;
  return static_cast<int>(std::clamp((quota_us + period_us - 1) / period_us, 1.0, 65536.0));
}

size_t AvailableOfMeminfo(const std::string& meminfo) {
  constexpr std::string_view kKey = "MemAvailable:";
  const size_t at = meminfo.find(kKey);
  if (at == std::string::npos) return 0;
  std::istringstream words(meminfo.substr(at + kKey.size()));
  size_t kib = 0;
  words >> kib;
  return kib * 1024;
}

size_t LimitOfMemoryMax(const std::string& memory_max) {
  size_t limit = 0;
  std::from_chars(memory_max.data(), memory_max.data() + memory_max.size(), limit);
  return limit;
}

int UsableCores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = CPU_COUNT(&mask);
  const int quota = CoresOfCpuMax(ReadAll("/sys/fs/cgroup/cpu.max"));
  if (quota > 0) cores = std::min(cores, quota);
  return std::max(cores, 1);
}

size_t AvailableMemoryBytes() {
  const size_t available = AvailableOfMeminfo(ReadAll("/proc/meminfo"));
  const size_t limit = LimitOfMemoryMax(ReadAll("/sys/fs/cgroup/memory.max"));
  if (limit == 0) return available;
  const size_t used = LimitOfMemoryMax(ReadAll("/sys/fs/cgroup/memory.current"));
  return std::min(available, limit - std::min(limit, used));
}

}  // namespace lorry::apps

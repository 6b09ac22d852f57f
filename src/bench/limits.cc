#include "bench/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>

#include "bench/probe.h"
#include "bench/statistics.h"
#include "kernels/isa.h"

namespace lorry::bench {
namespace {

std::atomic<uint64_t> g_sink;  // keeps the reads from being optimised away

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double ArithmeticRate(const Stream& stream, double (*run)(int64_t)) {
  if (run == nullptr) return 0;
  constexpr int64_t kRounds = 2'000'000;  // about 3 ms
  const int num_threads = stream.num_threads();
  std::atomic<double> total = 0;
  const auto start = std::chrono::steady_clock::now();
  stream.ParallelFor(num_threads, [&](int, int) {
    const double operations = run(kRounds);
    double seen = total.load();
    while (!total.compare_exchange_weak(seen, seen + operations)) {
    }
  });
  return total.load() / SecondsSince(start);
}

}  // namespace

Result<LimitProbe> LimitProbe::Create(size_t buffer_bytes) {
  LimitProbe probe;
  ASSIGN_OR_RETURN(probe.buffer_, Buffer::Allocate(buffer_bytes));
  std::memset(probe.buffer_.data(), 1, probe.buffer_.num_bytes());
  return probe;
}

double LimitProbe::ReadRate(const Stream& stream) const {
  return ReadRateOf(stream, buffer_.num_bytes());
}

double LimitProbe::ReadRateOf(const Stream& stream, size_t num_bytes) const {
  constexpr size_t kItemBytes = size_t{1} << 20;
  const int num_items = static_cast<int>(std::min(num_bytes, buffer_.num_bytes()) / kItemBytes);
  if (next_offset_ + num_items * kItemBytes > buffer_.num_bytes()) next_offset_ = 0;
  const std::byte* data = buffer_.data() + next_offset_;
  next_offset_ += num_items * kItemBytes;
  const auto read = ProbeFor(kernels::SelectedIsa()).read;
  const auto start = std::chrono::steady_clock::now();
  stream.ParallelFor(num_items, [&](int item, int) {
    g_sink.fetch_xor(read(data + item * kItemBytes, kItemBytes), std::memory_order_relaxed);
  });
  return static_cast<double>(num_items * kItemBytes) / SecondsSince(start);
}

double LimitProbe::Bf16Rate(const Stream& stream) const {
  return ArithmeticRate(stream, ProbeFor(kernels::SelectedIsa()).bf16_dot);
}
double LimitProbe::F32Rate(const Stream& stream) const {
  return ArithmeticRate(stream, ProbeFor(kernels::SelectedIsa()).f32_fma);
}
double LimitProbe::Int8Rate(const Stream& stream) const {
  return ArithmeticRate(stream, ProbeFor(kernels::SelectedIsa()).int8_dot);
}

Limits LimitProbe::Measure(const Stream& stream, int rounds) const {
  std::vector<double> read, bf16, f32, int8;
  for (int round = 0; round < rounds; ++round) {
    read.push_back(ReadRate(stream));
    bf16.push_back(Bf16Rate(stream));
    f32.push_back(F32Rate(stream));
    int8.push_back(Int8Rate(stream));
  }
  return {Median(read), Median(bf16), Median(f32), Median(int8)};
}

std::string MachineName(int num_threads) {
  std::map<std::string, std::string> fields;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line) && !line.empty();) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || colon + 2 > line.size()) continue;
    fields[line.substr(0, line.find_last_not_of("\t ", colon - 1) + 1)] = line.substr(colon + 2);
  }
  return fmt::format("{} family {} model {}, {} threads, {}", fields["model name"],
                     fields["cpu family"], fields["model"], num_threads,
                     kernels::IsaName(kernels::SelectedIsa()));
}

}  // namespace lorry::bench

#include "apps/step_log.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace lorry::apps {

Result<std::unique_ptr<StepLog>> StepLog::Create(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: {}", path, std::strerror(errno)),
                "step-log");
  }
  fmt::print(file,
             "end_us,decode_rows,prompt_rows,sequences,adapters,preempted,plan_us,forward_us,"
             "sample_us,apply_us\n");
  return std::unique_ptr<StepLog>(new StepLog(file));
}

StepLog::~StepLog() { std::fclose(file_); }

void StepLog::OnStep(const engine::StepInfo& step) {
  char line[256];
  const auto end = fmt::format_to_n(
      line, sizeof(line), "{},{},{},{},{},{},{},{},{},{}\n", Clock::Steady().NowUs(),
      step.num_decode_rows, step.num_prompt_rows, step.num_sequences, step.num_adapters,
      step.num_preempted, step.plan_us, step.forward_us, step.sample_us, step.apply_us);
  std::fwrite(line, 1, std::min(end.size, sizeof(line)), file_);
}

}  // namespace lorry::apps

// StepLog: a line of CSV for each step of the engine, to measure by.
// Owns: the file. Thread: the engine's. Never: flushes within a step, or ends the server when the
// disk is full.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/result.h"
#include "engine/engine_observer.h"

namespace lorry::apps {

class StepLog final : public engine::EngineObserver {
 public:
  static Result<std::unique_ptr<StepLog>> Create(const std::string& path);
  ~StepLog() override;
  void OnStep(const engine::StepInfo& step) override;

 private:
  explicit StepLog(std::FILE* file) : file_(file) {}
  std::FILE* const file_;
};

}  // namespace lorry::apps

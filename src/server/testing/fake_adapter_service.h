// FakeAdapterService: an AdapterService for tests of the server: names without weights. What a
// source is to fail with, and when answers come, is the test's choice.
// Owns: the names. Thread: any.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "request/adapter_service.h"

namespace lorry::server {

class FakeAdapterService final : public AdapterService {
 public:
  explicit FakeAdapterService(std::vector<std::string> base_names = {"demo", "org/demo"})
      : base_names_(std::move(base_names)) {}

  // Registering this source fails so.
  void FailSource(std::string source, Error error) {
    std::lock_guard lock(mutex_);
    failures_[std::move(source)] = std::move(error);
  }
  void AddStatic(std::string name, std::string source = "/static") {
    std::lock_guard lock(mutex_);
    adapters_[name] = {.name = name, .source = std::move(source), .is_static = true};
  }
  // What this adapter's handles hold beside their id.
  void SetHandle(std::string name, AdapterHandle handle) {
    std::lock_guard lock(mutex_);
    handles_[std::move(name)] = handle;
  }
  // From here on answers wait for AnswerHeld.
  void Hold() {
    std::lock_guard lock(mutex_);
    is_holding_ = true;
  }
  size_t num_held() {
    std::lock_guard lock(mutex_);
    return held_.size();
  }
  void AnswerHeld() {
    std::vector<std::function<void()>> held;
    {
      std::lock_guard lock(mutex_);
      is_holding_ = false;
      held.swap(held_);
    }
    for (const auto& answer : held) answer();
  }
  AdapterRegistration last_registration() {
    std::lock_guard lock(mutex_);
    return last_registration_;
  }

  std::shared_ptr<const ModelDirectory> directory() const override {
    std::lock_guard lock(mutex_);
    std::vector<AdapterCard> cards;
    for (const auto& [name, status] : adapters_) {
      cards.push_back({.name = name, .root = status.source});
    }
    return std::make_shared<ModelDirectory>(base_names_, "/models/demo", std::move(cards),
                                            /*max_model_len=*/64, /*created_s=*/1700000000);
  }

  void Want(const std::string& name, std::shared_ptr<WaitingRequest> request,
            HandleCallback done) override {
    {
      std::lock_guard lock(mutex_);
      last_request_ = std::move(request);
    }
    Answer(std::move(done), [&]() -> Result<std::shared_ptr<const AdapterHandle>> {
      const auto found = adapters_.find(name);
      if (found == adapters_.end()) return Fail(ErrorCode::kNotFound, name, "model");
      const auto failure = failures_.find(found->second.source);
      if (failure != failures_.end()) return tl::unexpected<Error>(failure->second);
      auto handle = std::make_shared<AdapterHandle>(handles_[name]);
      handle->id = found->second.id;
      return handle;
    });
  }

  // Requests may name what begins with "hf://open/".
  Result<std::string> CheckSource(const std::string& uri) const override {
    if (uri.starts_with("hf://open/")) return uri;
    return Fail(ErrorCode::kPermission, "not allowed", "source");
  }
  void WantSource(const AdapterSource& source, std::shared_ptr<WaitingRequest>,
                  HandleCallback done) override {
    Answer(std::move(done), [&]() -> Result<std::shared_ptr<const AdapterHandle>> {
      last_source_ = source;
      const auto failure = failures_.find(source.uri);
      if (failure != failures_.end()) return tl::unexpected<Error>(failure->second);
      return std::make_shared<AdapterHandle>();
    });
  }
  // Of the last Want.
  std::shared_ptr<WaitingRequest> last_request() {
    std::lock_guard lock(mutex_);
    return last_request_;
  }
  AdapterSource last_source() {
    std::lock_guard lock(mutex_);
    return last_source_;
  }

  void Register(AdapterRegistration registration, StatusCallback done) override {
    Answer(std::move(done), [&]() -> Result<AdapterStatus> {
      last_registration_ = registration;
      if (adapters_.contains(registration.name) && !registration.replace) {
        return Fail(ErrorCode::kConflict, fmt::format("`{}` exists", registration.name), "name");
      }
      const auto failure = failures_.find(registration.source);
      if (failure != failures_.end()) return tl::unexpected<Error>(failure->second);
      AdapterStatus status = {.name = registration.name, .source = registration.source};
      status.is_pinned = registration.is_pinned;
      if (registration.load) {
        status.id.bytes[0] = ++next_id_;
        status.tier = AdapterTier::kHost;
      }
      return adapters_[registration.name] = status;
    });
  }

  void Remove(const std::string& name, DoneCallback done) override {
    Answer(std::move(done), [&]() -> Status {
      const auto found = adapters_.find(name);
      if (found == adapters_.end()) return Unknown(name);
      if (found->second.is_static) return Fail(ErrorCode::kPermission, name + " is static");
      adapters_.erase(found);
      return {};
    });
  }

  void Update(const std::string& name, AdapterUpdate update, StatusCallback done) override {
    Answer(std::move(done), [&]() -> Result<AdapterStatus> {
      const auto found = adapters_.find(name);
      if (found == adapters_.end()) return Unknown(name);
      AdapterStatus& status = found->second;
      if (update.alias_of) {
        const auto target = adapters_.find(*update.alias_of);
        if (target == adapters_.end()) return Unknown(*update.alias_of);
        status.id = target->second.id;
      }
      if (update.reload) status.id.bytes[0] = ++next_id_;
      if (update.is_pinned) status.is_pinned = *update.is_pinned;
      return status;
    });
  }

  void List(std::function<void(std::vector<AdapterStatus>)> done) override {
    Answer(std::move(done), [&] {
      std::vector<AdapterStatus> all;
      for (const auto& [name, status] : adapters_) all.push_back(status);
      std::ranges::reverse(all);  // in no order that anyone may count on
      return all;
    });
  }

 private:
  static tl::unexpected<Error> Unknown(const std::string& name) {
    return Fail(ErrorCode::kNotFound, fmt::format("There is no adapter `{}`.", name), "name");
  }

  // Calls `done` with what `make` returns, now or by AnswerHeld; outside of the lock.
  template <typename Done, typename Make>
  void Answer(Done done, Make make) {
    std::unique_lock lock(mutex_);
    auto value = make();
    if (is_holding_) {
      held_.push_back([done, value] { done(value); });
      return;
    }
    lock.unlock();
    done(std::move(value));
  }

  const std::vector<std::string> base_names_;
  mutable std::mutex mutex_;
  std::map<std::string, AdapterStatus> adapters_;
  std::map<std::string, Error> failures_;
  std::map<std::string, AdapterHandle> handles_;
  std::vector<std::function<void()>> held_;
  AdapterRegistration last_registration_;
  AdapterSource last_source_;
  std::shared_ptr<WaitingRequest> last_request_;
  bool is_holding_ = false;
  uint8_t next_id_ = 0;
};

}  // namespace lorry::server

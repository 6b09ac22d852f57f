#include "api/lorax/merged.h"

namespace lorry::api::lorax {
namespace {

constexpr std::string_view kSum =
    R"(An exact weighted sum is "model": "a+0.5*b", or "adapters": [{"name": "a"}, )"
    R"({"name": "b", "weight": 0.5}].)";

}  // namespace

Error RefuseMerged(std::string_view merge_strategy) {
  // Weights w of two adapters give w1^2 B1 A1 + w2^2 B2 A2 + w1 w2 (B1 A2 + B2 A1) there: to run
  // another sum under that name would be another answer than the one that was asked for.
  if (merge_strategy == "linear") {
    return {ErrorCode::kUnsupported,
            fmt::format("'merged_adapters' with 'linear' is not supported: it adds up the "
                        "adapters' A and B apart, so that weights count squared and one adapter's "
                        "A meets another's B. {}",
                        kSum),
            "merged_adapters"};
  }
  for (const std::string_view offline : {"ties", "dare_linear", "dare_ties"}) {
    if (merge_strategy != offline) continue;
    return {ErrorCode::kUnsupported,
            fmt::format("'merged_adapters' with '{}' is not supported: `lorry merge --method {} "
                        "--as-adapter` makes one adapter of several beforehand. {}",
                        offline, offline, kSum),
            "merged_adapters"};
  }
  return {ErrorCode::kInvalidArgument,
          "'merged_adapters.merge_strategy' must be one of linear, ties, dare_linear, dare_ties.",
          "merged_adapters.merge_strategy"};
}

}  // namespace lorry::api::lorax

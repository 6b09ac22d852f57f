#include "merge/combination.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace lorry::merge {
namespace {

constexpr std::array kNames = {
    std::pair{Method::kLinear, std::string_view("linear")},
    std::pair{Method::kCat, std::string_view("cat")},
    std::pair{Method::kSvd, std::string_view("svd")},
    std::pair{Method::kTies, std::string_view("ties")},
    std::pair{Method::kDareLinear, std::string_view("dare_linear")},
    std::pair{Method::kDareTies, std::string_view("dare_ties")},
    std::pair{Method::kMagnitudePrune, std::string_view("magnitude_prune")},
};

}  // namespace

std::string_view MethodName(Method method) {
  for (const auto& [known, name] : kNames) {
    if (known == method) return name;
  }
  CHECK_MSG(false, "method {}", static_cast<int>(method));
  return "";
}

std::vector<std::string_view> MethodNames() {
  std::vector<std::string_view> names;
  for (const auto& [method, name] : kNames) names.push_back(name);
  return names;
}

Result<Method> ParseMethod(std::string_view name) {
  for (const auto& [method, known] : kNames) {
    if (known == name) return method;
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is not one of {}", name, fmt::join(MethodNames(), ", ")));
}

bool UsesDensity(Method method) {
  return method == Method::kTies || method == Method::kMagnitudePrune || IsRandom(method);
}

bool UsesMajoritySign(Method method) {
  return method == Method::kTies || method == Method::kDareTies;
}

bool IsRandom(Method method) {
  return method == Method::kDareLinear || method == Method::kDareTies;
}

bool NeedsEqualRanks(Method method) { return method != Method::kCat && method != Method::kSvd; }

Status CheckCombination(const Combination& combination) {
  if (!(combination.density > 0 && combination.density <= 1)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("density {}: must be above 0 and at most 1", combination.density));
  }
  if (combination.svd_rank < 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("svd rank {}: must be at least 1", combination.svd_rank));
  }
  return {};
}

}  // namespace lorry::merge

#include "server/choose_model.h"

#include <algorithm>

#include "api/lorax/source.h"
#include "base/ascii.h"

namespace lorry::server {
namespace {

using api::openai::ModelRequest;

// LoRAX's name for the base.
constexpr std::string_view kLoraxBase = "__base_model__";
constexpr size_t kMaxNameBytes = 256;

tl::unexpected<Error> NeedsTheBase(std::string_view field) {
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("With '{}', 'model' must be the base model's name or left out.", field),
              std::string(field));
}

Result<ModelChoice> ChooseSum(const ModelRequest& request, const ModelDirectory& directory) {
  if (!request.adapter_id.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'adapters' and '{}' exclude each other.", request.adapter_field),
                "adapters");
  }
  ASSIGN_OR_RETURN(ModelChoice choice, directory.Resolve(request.model));
  if (choice.is_adapter()) return NeedsTheBase("adapters");
  choice.adapters = request.adapters;
  for (size_t i = 0; i < choice.adapters.size(); ++i) {
    if (directory.FindAdapter(choice.adapters[i].name) != nullptr) continue;
    return tl::unexpected(
        directory.NoAdapter(choice.adapters[i].name, fmt::format("adapters[{}].name", i)));
  }
  return choice;
}

bool IsBase(std::string_view adapter_id, const ModelDirectory& directory) {
  return adapter_id == kLoraxBase ||
         std::ranges::find(directory.base_names(), adapter_id) != directory.base_names().end();
}

// Nothing of it says that it is what a source has.
bool IsPlainName(const ModelRequest& request, std::string_view adapter_id) {
  return request.adapter_source.empty() && adapter_id.find_first_of("/:") == std::string::npos;
}

Result<ModelChoice> ChooseSource(const ModelRequest& request, std::string_view adapter_id,
                                 const AdapterService& adapters) {
  AdapterSource source{.token = request.api_token};
  ASSIGN_OR_RETURN(source.uri, api::lorax::SourceOf(adapter_id, request.adapter_source));
  ASSIGN_OR_RETURN(const std::string shown, adapters.CheckSource(source.uri));
  return ModelChoice{shown, {{.name = shown, .source = std::move(source)}}};
}

}  // namespace

std::string AdapterHeader(const net::HttpHeaders& headers) {
  std::string joined;
  for (const auto& [name, value] : headers) {
    if (value.empty() || !EqualIgnoringCase(name, kAdapterHeader)) continue;
    joined += joined.empty() ? value : ", " + value;
  }
  return joined.substr(0, kMaxNameBytes + 1);
}

Status TakeAdapterHeader(const std::string& value, ModelRequest& request) {
  if (value.empty()) return {};
  if (value.size() > kMaxNameBytes) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' must be the name of an adapter, of at most {} bytes.",
                            kAdapterHeader, kMaxNameBytes),
                std::string(kAdapterHeader));
  }
  if (!request.adapters.empty() || (!request.adapter_id.empty() && request.adapter_id != value)) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' and '{}' exclude each other: they choose different adapters.",
                    request.adapters.empty() ? request.adapter_field : "adapters", kAdapterHeader),
        std::string(kAdapterHeader));
  }
  request.adapter_id = value;
  request.adapter_field = kAdapterHeader;
  request.is_adapter_name = true;
  return {};
}

Result<ModelChoice> ChooseModel(const ModelRequest& request, const AdapterService& adapters) {
  const auto directory = adapters.directory();
  if (!request.adapters.empty()) return ChooseSum(request, *directory);
  Result<ModelChoice> named = directory->Resolve(request.model == kLoraxBase ? "" : request.model);
  if (request.adapter_id.empty()) {
    const bool is_source =
        request.model.find("://") != std::string::npos || !request.adapter_source.empty();
    // LoRAX's clients put the id into `model` too.
    if (named || !is_source) return named;
    return ChooseSource(request, request.model, adapters);
  }
  const bool same = request.model == request.adapter_id;
  if (!same && !named) return named;
  if (!same && named->is_adapter()) return NeedsTheBase(request.adapter_field);
  if (IsBase(request.adapter_id, *directory)) return directory->Resolve("");
  if (directory->FindAdapter(request.adapter_id) != nullptr) {
    return directory->Resolve(request.adapter_id);
  }
  if (request.is_adapter_name || IsPlainName(request, request.adapter_id)) {
    return tl::unexpected(directory->NoAdapter(request.adapter_id, request.adapter_field));
  }
  Result<ModelChoice> of_source = ChooseSource(request, request.adapter_id, adapters);
  const std::string suggestion = directory->Suggestion(request.adapter_id);
  if (of_source || suggestion.empty()) return of_source;
  std::string& message = of_source.error().message;
  message += (message.ends_with('.') ? "" : ".") + suggestion;
  return of_source;
}

}  // namespace lorry::server

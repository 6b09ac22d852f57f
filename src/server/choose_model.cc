#include "server/choose_model.h"

#include "api/lorax/source.h"

namespace lorry::server {
namespace {

using api::openai::ModelRequest;

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
    return Fail(ErrorCode::kNotFound,
                fmt::format("The adapter `{}` does not exist.{}", choice.adapters[i].name,
                            directory.Suggestion(choice.adapters[i].name)),
                fmt::format("adapters[{}].name", i));
  }
  return choice;
}

Result<ModelChoice> ChooseSource(const ModelRequest& request, std::string_view adapter_id,
                                 const AdapterService& adapters) {
  AdapterSource source{.token = request.api_token};
  ASSIGN_OR_RETURN(source.uri, api::lorax::SourceOf(adapter_id, request.adapter_source));
  ASSIGN_OR_RETURN(const std::string shown, adapters.CheckSource(source.uri));
  return ModelChoice{shown, {{.name = shown, .source = std::move(source)}}};
}

}  // namespace

Result<ModelChoice> ChooseModel(const ModelRequest& request, const AdapterService& adapters) {
  const auto directory = adapters.directory();
  if (!request.adapters.empty()) return ChooseSum(request, *directory);
  Result<ModelChoice> named = directory->Resolve(request.model);
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
  if (directory->FindAdapter(request.adapter_id) != nullptr) {
    return directory->Resolve(request.adapter_id);
  }
  if (request.is_adapter_name) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("The adapter `{}` does not exist.", request.adapter_id),
                request.adapter_field);
  }
  return ChooseSource(request, request.adapter_id, adapters);
}

}  // namespace lorry::server

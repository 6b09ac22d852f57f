#include <algorithm>
#include <array>

#include "api/lorax/merged.h"
#include "api/openai/parse_common.h"

namespace lorry::api::openai {
namespace {

namespace json = boost::json;

// How a field that chooses an adapter is read.
enum class Reading {
  kName,     // the name of a registered adapter
  kSource,   // that, or what a source has
  kRefused,  // it says what cannot be done here
};

// The fields by which other servers' requests choose an adapter, in the body itself or in TGI's
// "parameters". Whoever sends one wants that adapter: to pass it over would be an answer by the
// base, in silence.
struct AdapterField {
  std::string_view name;
  std::string_view server;  // "": clients send it, of whichever server
  Reading reading;
};
constexpr std::array kAdapterFields = {
    AdapterField{"adapter_id", "LoRAX and TGI", Reading::kSource},
    AdapterField{"lora_path", "SGLang", Reading::kName},
    AdapterField{"adapters", "DJL", Reading::kName},  // a text; a list is Lorry's own
    AdapterField{"lora_name", "Triton", Reading::kName},
    AdapterField{"adapter_name", "OpenLLM", Reading::kName},
    AdapterField{"lora", "llama.cpp", Reading::kRefused},  // [{id, scale}]: places in a list
    AdapterField{"lora_id", "SGLang", Reading::kRefused},
    AdapterField{"lora_int_id", "vLLM", Reading::kRefused},
    AdapterField{"lora_dir", "LightLLM", Reading::kRefused},
    AdapterField{"lora_task_id", "Triton", Reading::kRefused},
    AdapterField{"lora_weights", "Triton", Reading::kRefused},
    AdapterField{"lora_config", "Triton", Reading::kRefused},
    AdapterField{"lora_modules", "vLLM", Reading::kRefused},
    AdapterField{"lora_adapter", "", Reading::kRefused},
    AdapterField{"loras", "", Reading::kRefused},
    AdapterField{"adapter", "", Reading::kRefused},
    AdapterField{"adapter_names", "PEFT", Reading::kRefused},
};
constexpr std::array<std::string_view, 2> kObjects = {"", "parameters"};

constexpr std::string_view kHowToName =
    R"(name a registered adapter in 'model', or several as "adapters": [{"name": "a"}])";

constexpr size_t kMaxNameBytes = 256;

// Nothing, or what reads as nothing.
bool IsEmpty(const json::value& value) {
  return value.is_null() || (value.is_string() && value.get_string().empty()) ||
         (value.is_array() && value.get_array().empty()) ||
         (value.is_object() && value.get_object().empty());
}

// What is wrong with these is told without what was sent: it may be a secret.
void ReadSecret(FieldReader& fields, std::string_view path, const json::value& value,
                std::string& out) {
  constexpr size_t kMaxBytes = 4096;
  const bool is_text = value.is_string() && value.get_string().size() <= kMaxBytes &&
                       std::ranges::all_of(value.get_string(), [](char c) {
                         return static_cast<unsigned char>(c) >= ' ' && c != '\x7F';
                       });
  if (is_text) {
    out.assign(value.get_string().data(), value.get_string().size());
    return;
  }
  fields.Fail(ErrorCode::kInvalidArgument, path,
              fmt::format("'{}' must be a string of at most {} bytes without control characters.",
                          path, kMaxBytes));
}

void ReadAdapter(FieldReader& fields, const std::string& path, const json::value& value,
                 AdapterTerm& term) {
  if (!value.is_object()) return fields.Wrong(path, "an object with a name and a weight", value);
  FieldReader item(value.get_object(), path + ".");
  item.String("name", term.name);
  item.Number("weight", {-kMaxAdapterWeight, kMaxAdapterWeight}, term.weight);
  for (const auto& [key, unused] : value.get_object()) {
    if (key == "name" || key == "weight") continue;
    item.Fail(ErrorCode::kInvalidArgument, key,
              fmt::format("'{}' may have a name and a weight and nothing else.", path));
  }
  if (item.ok() && term.name.empty()) {
    item.Fail(ErrorCode::kInvalidArgument, "name", fmt::format("'{}.name' is missing.", path));
  }
  if (const Status status = item.status(); !status) {
    fields.Fail(status.error().code, status.error().param, status.error().message);
  }
}

// Lorry's own: a weighted sum.
void ReadAdapters(FieldReader& fields, ModelRequest& request) {
  const json::value* value = fields.Find("adapters");
  if (value == nullptr || value->is_string()) return;
  const auto expected = fmt::format("a list of at most {} adapters", kMaxAdapterTerms);
  if (!value->is_array() || value->get_array().size() > kMaxAdapterTerms) {
    return fields.Wrong("adapters", expected, *value);
  }
  const json::array& items = value->get_array();
  request.adapters.resize(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    ReadAdapter(fields, fmt::format("adapters[{}]", i), items[i], request.adapters[i]);
  }
}

std::string PathIn(std::string_view object, std::string_view name) {
  return object.empty() ? std::string(name) : fmt::format("{}.{}", object, name);
}

const json::value* FindIn(const FieldReader& fields, std::string_view object,
                          std::string_view name) {
  if (object.empty()) return fields.Find(name);
  const json::value* outer = fields.Find(object);
  const json::object* members = outer == nullptr ? nullptr : outer->if_object();
  return members == nullptr ? nullptr : members->if_contains(name);
}

void TakeField(FieldReader& fields, const AdapterField& field, const std::string& path,
               const json::value& value, ModelRequest& request) {
  if (field.reading == Reading::kRefused) {
    return fields.Fail(
        ErrorCode::kUnsupported, path,
        fmt::format("'{}' ({}way to choose an adapter) is not supported; {}.", path,
                    field.server.empty() ? "a " : fmt::format("{}'s ", field.server), kHowToName));
  }
  if (value.is_array()) {
    return fields.Fail(
        ErrorCode::kUnsupported, path,
        fmt::format("'{}' must be the name of one adapter, not a list; {}.", path, kHowToName));
  }
  std::string id;
  ReadSecret(fields, path, value, id);
  if (!fields.ok()) return;
  if (field.reading == Reading::kName && id.size() > kMaxNameBytes) {
    return fields.Fail(
        ErrorCode::kInvalidArgument, path,
        fmt::format("'{}' has {} bytes; a name has at most {}.", path, id.size(), kMaxNameBytes));
  }
  if (!request.adapters.empty() || (!request.adapter_id.empty() && request.adapter_id != id)) {
    const std::string other = request.adapters.empty() ? request.adapter_field : "adapters";
    return fields.Fail(
        ErrorCode::kInvalidArgument, path,
        fmt::format("'{}' and '{}' exclude each other: they choose different adapters.", other,
                    path));
  }
  if (!request.adapter_id.empty()) return;
  request.adapter_id = std::move(id);
  request.adapter_field = path;
  request.is_adapter_name = field.reading == Reading::kName;
}

// TensorRT-LLM's object: it is there to choose an adapter, so it must name one.
void ReadLoraRequest(FieldReader& fields, std::string_view object, ModelRequest& request) {
  constexpr AdapterField kField = {"lora_name", "TensorRT-LLM", Reading::kName};
  const json::value* value = FindIn(fields, object, "lora_request");
  if (value == nullptr || IsEmpty(*value)) return;
  const std::string path = PathIn(object, "lora_request");
  const json::object* members = value->if_object();
  const json::value* name = members == nullptr ? nullptr : members->if_contains(kField.name);
  if (name != nullptr && !IsEmpty(*name)) {
    return TakeField(fields, kField, PathIn(path, kField.name), *name, request);
  }
  fields.Fail(ErrorCode::kUnsupported, path,
              fmt::format("'{}' must be an object with the 'lora_name' of a registered adapter: "
                          "its number and path mean nothing here; {}.",
                          path, kHowToName));
}

void RefuseMergedAdapters(FieldReader& fields, std::string_view object) {
  const json::value* value = FindIn(fields, object, "merged_adapters");
  if (value == nullptr || IsEmpty(*value)) return;
  const std::string path = PathIn(object, "merged_adapters");
  if (!value->is_object()) return fields.Wrong(path, "an object", *value);
  FieldReader merged(value->get_object(), path + ".");
  std::string strategy = "linear";
  merged.String("merge_strategy", strategy);
  Error error = merged.ok() ? lorax::RefuseMerged(strategy) : merged.status().error();
  fields.Fail(error.code, error.param, std::move(error.message));
}

// Where what adapter_id names lies.
void ReadSource(FieldReader& fields, ModelRequest& request) {
  const auto read = [&](std::string_view name, std::string& out) {
    for (const std::string_view object : kObjects) {
      const json::value* value = FindIn(fields, object, name);
      if (value == nullptr || value->is_null()) continue;
      ReadSecret(fields, PathIn(object, name), *value, out);
    }
  };
  read("adapter_source", request.adapter_source);
  read("api_token", request.api_token);
}

}  // namespace

void ReadModel(FieldReader& fields, ModelRequest& request) {
  constexpr size_t kMaxBytes =
      1024;  // "base:adapter", generously; it comes back in errors and logs
  fields.String("model", request.model);
  if (request.model.size() > kMaxBytes) {
    fields.Fail(
        ErrorCode::kInvalidArgument, "model",
        fmt::format("'model' has {} bytes; the limit is {}.", request.model.size(), kMaxBytes));
  }
  ReadAdapters(fields, request);
  RefuseUnsupported(fields, {{"extra_body", ""}});  // its members belong into the body itself
  if (const json::value* parameters = fields.Find("parameters");
      parameters != nullptr && !parameters->is_object()) {
    fields.Wrong("parameters", "an object", *parameters);
  }
  for (const std::string_view object : kObjects) {
    for (const AdapterField& field : kAdapterFields) {
      const json::value* value = FindIn(fields, object, field.name);
      if (value == nullptr || IsEmpty(*value)) continue;
      if (object.empty() && field.name == "adapters" && !value->is_string()) continue;
      TakeField(fields, field, PathIn(object, field.name), *value, request);
    }
    ReadLoraRequest(fields, object, request);
    RefuseMergedAdapters(fields, object);
  }
  ReadSource(fields, request);
}

}  // namespace lorry::api::openai

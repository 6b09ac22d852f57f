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

// The fields by which other servers' requests choose an adapter. Whoever sends one wants that
// adapter: to pass it over would be an answer by the base, in silence.
struct AdapterField {
  std::string_view object;  // "": the body itself
  std::string_view name;
  std::string_view server;
  Reading reading;
};
constexpr std::array kAdapterFields = {
    AdapterField{"", "adapter_id", "LoRAX", Reading::kSource},
    AdapterField{"parameters", "adapter_id", "TGI and LoRAX", Reading::kSource},
    AdapterField{"lora_request", "lora_name", "TensorRT-LLM", Reading::kName},
    AdapterField{"", "lora_path", "SGLang", Reading::kName},
    AdapterField{"", "adapters", "DJL", Reading::kName},  // a text; a list is Lorry's own
    AdapterField{"", "lora_name", "Triton", Reading::kName},
    AdapterField{"parameters", "lora_name", "Triton", Reading::kName},
    AdapterField{"", "adapter_name", "OpenLLM", Reading::kName},
    AdapterField{"", "lora", "llama.cpp", Reading::kRefused},  // [{id, scale}]: places in a list
    AdapterField{"", "lora_id", "SGLang", Reading::kRefused},
    AdapterField{"", "lora_int_id", "vLLM", Reading::kRefused},
    AdapterField{"", "lora_dir", "LightLLM", Reading::kRefused},
    AdapterField{"parameters", "lora_dir", "LightLLM", Reading::kRefused},
    AdapterField{"", "lora_task_id", "Triton", Reading::kRefused},
    AdapterField{"", "lora_weights", "Triton", Reading::kRefused},
    AdapterField{"", "lora_config", "Triton", Reading::kRefused},
};

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
    return fields.Fail(ErrorCode::kUnsupported, path,
                       fmt::format("'{}' ({}'s way to choose an adapter) is not supported; {}.",
                                   path, field.server, kHowToName));
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

void ReadAdapterFields(FieldReader& fields, ModelRequest& request) {
  for (const AdapterField& field : kAdapterFields) {
    const json::value* value = FindIn(fields, field.object, field.name);
    if (value == nullptr || IsEmpty(*value)) continue;
    if (field.name == "adapters" && !value->is_string()) continue;
    const std::string path = field.object.empty() ? std::string(field.name)
                                                  : fmt::format("{}.{}", field.object, field.name);
    TakeField(fields, field, path, *value, request);
  }
  // An object that is there to choose an adapter and names none.
  const json::value* lora = fields.Find("lora_request");
  if (lora == nullptr || IsEmpty(*lora)) return;
  const json::value* name = FindIn(fields, "lora_request", "lora_name");
  if (name != nullptr && !IsEmpty(*name)) return;
  fields.Fail(ErrorCode::kUnsupported, "lora_request",
              fmt::format("'lora_request' must be an object with the 'lora_name' of a registered "
                          "adapter: its number and path mean nothing here; {}.",
                          kHowToName));
}

// Where what adapter_id names lies.
void ReadSource(FieldReader& fields, ModelRequest& request) {
  const auto read = [&](std::string_view name, std::string& out) {
    for (const std::string_view object : {"", "parameters"}) {
      const json::value* value = FindIn(fields, object, name);
      if (value == nullptr || value->is_null()) continue;
      const std::string prefix = object.empty() ? "" : fmt::format("{}.", object);
      ReadSecret(fields, prefix + std::string(name), *value, out);
    }
  };
  read("adapter_source", request.adapter_source);
  read("api_token", request.api_token);
}

void RefuseMergedAdapters(FieldReader& fields, std::string_view object) {
  const json::value* value = FindIn(fields, object, "merged_adapters");
  if (value == nullptr || IsEmpty(*value)) return;
  const std::string path = object.empty() ? "merged_adapters" : "parameters.merged_adapters";
  if (!value->is_object()) return fields.Wrong(path, "an object", *value);
  FieldReader merged(value->get_object(), path + ".");
  std::string strategy = "linear";
  merged.String("merge_strategy", strategy);
  Error error = merged.ok() ? lorax::RefuseMerged(strategy) : merged.status().error();
  fields.Fail(error.code, error.param, std::move(error.message));
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
  ReadAdapterFields(fields, request);
  ReadSource(fields, request);
  RefuseMergedAdapters(fields, "");
  RefuseMergedAdapters(fields, "parameters");
}

}  // namespace lorry::api::openai

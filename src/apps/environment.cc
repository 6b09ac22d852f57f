#include "apps/environment.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace lorry::apps {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// As huggingface_hub reads its switches.
bool IsTrue(std::string_view text) {
  return text == "1" || text == "true" || text == "TRUE" || text == "True" || text == "ON" ||
         text == "on" || text == "YES" || text == "yes";
}

std::string UserCache() {
  if (const std::string cache = Variable("XDG_CACHE_HOME"); !cache.empty()) return cache;
  const std::string home = Variable("HOME");
  return home.empty() ? "" : home + "/.cache";
}

}  // namespace

void ReadSourceVariables(adapters::SourceOptions& sources) {
  if (std::string endpoint = Variable("HF_ENDPOINT"); !endpoint.empty()) {
    sources.hub.endpoint = std::move(endpoint);
  }
  sources.hub.token = Variable("HF_TOKEN");
  sources.hub.offline = IsTrue(Variable("HF_HUB_OFFLINE"));
  const std::string hub_cache = Variable("HF_HUB_CACHE");
  const std::string hub_home = Variable("HF_HOME");
  const std::string user_cache = UserCache();
  if (!hub_cache.empty()) {
    sources.hub.cache_dir = hub_cache;
  } else if (!hub_home.empty()) {
    sources.hub.cache_dir = hub_home + "/hub";
  } else if (!user_cache.empty()) {
    sources.hub.cache_dir = user_cache + "/huggingface/hub";
  }
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    for (const std::string_view prefix : {"AWS_", "GOOGLE_", "AZURE_"}) {
      if (!text.starts_with(prefix)) continue;
      sources.store_settings.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
  }
}

text::SandboxOptions AdapterTextLimits() {
  text::SandboxOptions options;
  if (const std::string zone = Variable("TZ"); !zone.empty()) {
    options.environment.push_back("TZ=" + zone);
  }
  return options;
}

std::string DefaultCacheDir() {
  const std::string cache = UserCache();
  return cache.empty() ? "" : cache + "/lorry";
}

Result<std::string> ExistingCacheDir(const std::string& option) {
  const auto dir = AdapterCacheDir(option);
  if (!dir) return Fail(ErrorCode::kNotFound, "there is no cache: --adapter-cache DIR");
  std::error_code error;
  if (!option.empty() && !std::filesystem::is_directory(*dir, error)) {
    return Fail(ErrorCode::kNotFound, fmt::format("--adapter-cache {}: no such directory", *dir),
                "adapter-cache");
  }
  return *dir;
}

std::optional<std::string> AdapterCacheDir(const std::string& option) {
  const std::string dir = option.empty() ? DefaultCacheDir() : option;
  return dir.empty() || dir == "none" ? std::nullopt : std::optional(dir);
}

}  // namespace lorry::apps

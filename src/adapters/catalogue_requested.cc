// Sources that requests name themselves: as adapters without a name, each for one token.
#include <utility>

#include "adapters/cache_layout.h"
#include "adapters/catalogue.h"
#include "formats/content_hash.h"

namespace lorry::adapters {
namespace {

// One request's private token must not open what another's has fetched. No name has a "#".
std::string KeyOf(const SourceUri& uri, const std::string& token) {
  const formats::ContentPart part = {"token", std::as_bytes(std::span(token))};
  return fmt::format("{}#{}#{}", uri.text, SourceDigest(uri),
                     formats::HashAdapterContent(std::span(&part, 1)).Hex());
}

}  // namespace

Result<std::string> Catalogue::CheckSource(const std::string& uri) const {
  ASSIGN_OR_RETURN(SourceUri source, options_.requestable.Check(uri));
  return std::move(source.text);
}

void Catalogue::WantSource(const AdapterSource& source, std::shared_ptr<WaitingRequest> request,
                           HandleCallback done) {
  auto uri = options_.requestable.Check(source.uri);
  if (!uri) return done(tl::unexpected<Error>(std::move(uri.error())));
  if (stopping_) return done(Fail(ErrorCode::kUnavailable, "The server is shutting down."));
  Post([this, uri = std::move(*uri), token = source.token,
        wanting = Wanting{std::move(request), std::move(done)}]() mutable {
    DoWantSource(uri, token, std::move(wanting));
  });
}

void Catalogue::DoWantSource(const SourceUri& uri, const std::string& token, Wanting wanting) {
  const std::string key = KeyOf(uri, token);
  auto found = entries_.find(key);
  if (found == entries_.end()) {
    if (!MakeRoomForRequested()) {
      return wanting.done(
          Fail(ErrorCode::kUnavailable,
               fmt::format("{} sources that requests named are being loaded. Try again later.",
                           requested_.size()),
               "model"));
    }
    AddEntry(key, uri);
    found = entries_.find(key);
    found->second.token = token;
    found->second.is_requested = true;
    found->second.is_stale = true;
    found->second.requested_at = requested_.insert(requested_.end(), key);
  }
  Entry& entry = found->second;
  requested_.splice(requested_.end(), requested_, entry.requested_at);
  // The source may have moved on, and a token may have been taken back.
  if (options_.clock->NowUs() - entry.checked_us > options_.recheck_us) entry.is_stale = true;
  Use(entry, std::move(wanting));
}

// The one that was used least lately leaves, of those that nobody waits for.
bool Catalogue::MakeRoomForRequested() {
  if (requested_.size() < options_.max_requested) return true;
  for (const std::string& key : requested_) {
    const auto entry = entries_.find(key);
    if (entry->second.load || !entry->second.waiters.empty()) continue;
    EraseEntry(entry, {ErrorCode::kUnavailable, "forgotten", "model"});
    return true;
  }
  return false;
}

}  // namespace lorry::adapters

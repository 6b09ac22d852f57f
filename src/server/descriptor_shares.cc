#include "server/descriptor_shares.h"

#include <algorithm>

#include "net/connection_table.h"

namespace lorry::server {
namespace {

constexpr uint64_t kAdminConnections = 64;
// On their way to a key: so many that a flood of them takes a while to push one out.
constexpr uint64_t kAdminNewcomers = 1024;
constexpr uint64_t kAdminShare = 8;        // its part of what is scarce
constexpr uint64_t kNewcomerShare = 4;     // theirs
constexpr uint64_t kMinConnections = 128;  // of all kinds, below which nothing is shared

// Beside connections: libraries, the base's files, the cache, the registry, directories that are
// looked at, at most 4 text workers that wait and those at work; and of fetches four times as many
// as fetchers at most, each with a socket, a file and a lock.
uint64_t Others(const DescriptorNeeds& needs) {
  constexpr uint64_t kFiles = 256, kPerFetcher = 12;
  return kFiles + kPerFetcher * static_cast<uint64_t>(needs.num_fetchers);
}

uint64_t Beyond(uint64_t number, uint64_t limit) { return number > limit ? number - limit : 0; }

// Newcomers, with those that have made room and are being told so.
constexpr uint64_t DescriptorsOf(uint64_t num_newcomers) {
  return num_newcomers + net::MaxLeaving(num_newcomers);
}
// The most whose DescriptorsOf fit.
uint64_t NewcomersIn(uint64_t num_descriptors) {
  constexpr uint64_t kMostLeaving = net::MaxLeaving(SIZE_MAX);
  const uint64_t num_many = Beyond(num_descriptors, kMostLeaving);
  if (DescriptorsOf(num_many) == num_descriptors) return num_many;
  const uint64_t few = Beyond(num_descriptors, 1);  // n + n / 4
  return few - few / 5;
}

constexpr uint64_t kAdminDescriptors = kAdminConnections + DescriptorsOf(kAdminNewcomers);

uint64_t OfClients(const DescriptorNeeds& needs) {
  const auto wanted = static_cast<uint64_t>(needs.max_connections);
  return wanted + DescriptorsOf(wanted);
}

ConnectionLimits Limits(uint64_t num_connections, uint64_t num_newcomers) {
  return {static_cast<int>(num_connections), static_cast<int>(num_newcomers)};
}

}  // namespace

uint64_t WantedDescriptors(const DescriptorNeeds& needs) {
  const uint64_t admin = needs.has_admin ? kAdminDescriptors : 0;
  return Others(needs) + std::max(kMinConnections, OfClients(needs) + admin);
}

Result<DescriptorShares> ShareDescriptors(const DescriptorNeeds& needs, uint64_t max_descriptors) {
  const uint64_t least = Others(needs) + kMinConnections;
  if (max_descriptors < least) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("the system allows this process {} file descriptors, and it needs {} "
                            "at least: raise the limit (ulimit -n)",
                            max_descriptors, least));
  }
  DescriptorShares shares;
  uint64_t left = max_descriptors - Others(needs);
  if (needs.has_admin) {
    const uint64_t share =
        std::min(std::max(left / kAdminShare, Beyond(left, OfClients(needs))), kAdminDescriptors);
    const uint64_t num_connections = std::min(share / 2, kAdminConnections);
    shares.admin = Limits(num_connections, NewcomersIn(share - num_connections));
    left -= share;
  }
  const auto wanted = static_cast<uint64_t>(needs.max_connections);
  const uint64_t of_newcomers =
      std::min(std::max(left / kNewcomerShare, Beyond(left, wanted)), DescriptorsOf(wanted));
  shares.clients = Limits(std::min(wanted, left - of_newcomers), NewcomersIn(of_newcomers));
  return shares;
}

}  // namespace lorry::server

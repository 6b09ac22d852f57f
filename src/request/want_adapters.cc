#include "request/want_adapters.h"

#include <atomic>
#include <memory>
#include <utility>

namespace lorry {
namespace {

using Handle = std::shared_ptr<const AdapterHandle>;

struct Wait {
  Wait(std::vector<AdapterTerm> wanted,
       std::function<void(Result<std::vector<AdapterTerm>>)> callback)
      : terms(std::move(wanted)), num_missing(terms.size()), done(std::move(callback)) {}

  void Take(size_t term_idx, Result<Handle> handle) {
    if (!handle) {
      if (!has_failed.exchange(true)) done(tl::unexpected<Error>(std::move(handle.error())));
      return;
    }
    terms[term_idx].handle = std::move(*handle);
    if (num_missing.fetch_sub(1) == 1) done(std::move(terms));
  }

  std::vector<AdapterTerm> terms;
  std::atomic<size_t> num_missing;  // never 0 after a failure
  std::atomic<bool> has_failed = false;
  const std::function<void(Result<std::vector<AdapterTerm>>)> done;
};

}  // namespace

void WantAdapters(AdapterService& adapters, std::vector<AdapterTerm> terms,
                  const std::shared_ptr<WaitingRequest>& request,
                  std::function<void(Result<std::vector<AdapterTerm>>)> done) {
  if (terms.empty()) return done(std::move(terms));
  const std::vector<AdapterTerm> wanted = terms;
  for (AdapterTerm& term : terms) term.source.reset();
  const auto wait = std::make_shared<Wait>(std::move(terms), std::move(done));
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto take = [wait, i](Result<Handle> handle) { wait->Take(i, std::move(handle)); };
    if (wanted[i].source) {
      adapters.WantSource(*wanted[i].source, request, take);
    } else {
      adapters.Want(wanted[i].name, request, take);
    }
  }
}

}  // namespace lorry

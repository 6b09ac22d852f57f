// WaitingLine<T>: sequences that wait for their first step, in turn by the client's request that
// they are of: the fair queueing of J. Nagle, "On Packet Switches with Infinite Storage" (RFC 970),
// with requests for sources and a sequence for a packet. A request with a sequence that waits has
// one place in the line; when one of its sequences begins, it goes to the end. So a newcomer stands
// behind one sequence of each other request, however many those have, and each request comes to its
// turn whoever comes after it. (Start-time fair queueing, one tag a sequence, has neither: without
// end of newcomers its time stands still, and a request that may not begin anything for a while
// saves up turns, all of which it takes at once.)
// Owns: the order; the sequences are others'. Thread: one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/ids.h"

namespace lorry::sched {

template <typename T>
class WaitingLine {
 public:
  void Add(RequestId request, T* sequence) {
    Place& place = places_[request];
    if (place.sequences.empty()) line_.push_back(&place);
    place.sequences.push_back(sequence);
  }

  // It begins: its request goes to the end of the line, or out of it.
  void Take(RequestId request, T* sequence) {
    Remove(request, sequence);
    const auto place = places_.find(request);
    if (place == places_.end()) return;
    LeaveLine(&place->second);
    line_.push_back(&place->second);
  }

  // It no longer waits.
  void Remove(RequestId request, T* sequence) {
    const auto place = places_.find(request);
    CHECK(place != places_.end());
    std::deque<T*>& sequences = place->second.sequences;
    const auto found = std::find(sequences.begin(), sequences.end(), sequence);
    CHECK(found != sequences.end());
    sequences.erase(found);
    if (!sequences.empty()) return;
    LeaveLine(&place->second);
    places_.erase(place);
  }

  enum class Answer { kNext, kSkipRequest, kStop };
  // In the order in which they come to their turns if each one before begins.
  // visit(T*, size_t of the same request before it) -> Answer. False: it was stopped.
  template <typename Visit>
  bool ForEach(const Visit& visit) const {
    std::vector<const Place*> round, next;
    const auto offer = [&](const Place* place, size_t turn) {
      const Answer answer = visit(place->sequences[turn], turn);
      if (answer == Answer::kNext && turn + 1 < place->sequences.size()) next.push_back(place);
      return answer != Answer::kStop;
    };
    for (const Place* place : line_) {
      if (!offer(place, 0)) return false;
    }
    for (size_t turn = 1; !next.empty(); ++turn) {
      round.swap(next);
      next.clear();
      for (const Place* place : round) {
        if (!offer(place, turn)) return false;
      }
    }
    return true;
  }

 private:
  struct Place {
    std::deque<T*> sequences;  // in the order of their arrival; at least one
  };
  void LeaveLine(const Place* place) { line_.erase(std::find(line_.begin(), line_.end(), place)); }

  std::unordered_map<RequestId, Place> places_;
  std::deque<const Place*> line_;  // each that has one
};

}  // namespace lorry::sched

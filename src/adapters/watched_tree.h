// WatchedTree: which adapters lie below watched directories, and in which state.
//
//     /srv/adapters              watched: --adapter-dir
//       team/                    a directory on the way
//         sql/                   adapter "team/sql": adapter_config.json with weights
//
// One that appears is an adapter once it is complete and has not changed for a moment; one that
// changes is told of again, one that goes away is forgotten. What is passed over is said, once for
// each state of it.
// Owns: what was seen last. Thread: one. Never: waits, reads a clock, or takes a directory that
// cannot be read for one that is gone.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"

namespace lorry::adapters {

struct WatchHooks {
  std::function<void(const std::string& name, const std::string& dir)> found;  // or changed
  std::function<void(const std::string& name)> gone;
  // Its files are those of no adapter now, and what it was stays.
  std::function<void(const std::string& name, const std::string& why)> broken;
  std::function<void(const std::string& line)> say;
  // A number that OnEvent is called with when something changes at `path`; -1: nobody will.
  std::function<int(const std::string& path)> follow;
  std::function<void(int watch)> unfollow;
};

class WatchedTree {
 public:
  static constexpr Micros kNever = INT64_MAX;
  static constexpr Micros kFirstLookUs = 100'000;  // after an event
  static constexpr Micros kSettleUs = 300'000;     // without a change, as long as it is complete
  static constexpr Micros kAbandonedUs =
      10'000'000;                      // the same where some of its files are missing
  static constexpr int kMaxDepth = 3;  // "run/step/adapter"
  static constexpr size_t kMaxDirectories = size_t{1} << 17;
  static constexpr int kLinkedAtOnce = 100;  // of LookBehindLinks

  WatchedTree(std::vector<std::string> dirs, WatchHooks hooks);
  ~WatchedTree();

  // What is there at start needs no time to settle.
  void Begin(Micros now_us);
  void LookAtAll(Micros now_us);  // and follows it anew, as watches may have gone unheard
  // Whether the watched directories, and a part of those that are reached through a link, are
  // others now: a link that is swapped somewhere on the way to them is no event of theirs.
  void LookBehindLinks(Micros now_us);
  void OnEvent(int watch, const std::string& name, Micros now_us);
  void OnWatchGone(int watch);
  Micros next_us() const { return due_.empty() ? kNever : due_.begin()->first; }
  void LookAtDue(Micros now_us);

  size_t num_directories() const { return num_nodes_; }

 private:
  struct Node;
  struct Listing;

  Node& AddChild(Node& parent, const std::string& file_name);
  void Forget(Node& node);
  void KeepLinked(Node& node);  // in linked_, or out of it
  void Due(Node& node, Micros us);
  void Look(Node& node, Micros now_us, bool with_children);
  void LookIfAnother(Node& node, Micros now_us);
  void LookWhereNothingIs(Node& node, Micros now_us);
  void FollowChildren(Node& node, const Listing& listing, Micros now_us, bool with_children);
  void Judge(Node& node, const Listing& listing, Micros now_us);
  void Tell(Node& node);
  void Release(Node& node);
  void AddWatch(Node& node, const std::string& path);
  void Follow(Node& node, const Listing& listing);
  void DropIfUnused(int watch);
  void Unfollow(Node& node);
  bool SayOnce(Node& node, const std::string& line);  // false: it has been said

  const WatchHooks hooks_;
  std::vector<std::unique_ptr<Node>> roots_;
  std::unordered_map<int, std::vector<Node*>> followers_;  // by watch
  std::map<std::string, Node*> owners_;                    // by the name that was told
  std::set<std::pair<Micros, Node*>> due_;
  std::set<Node*> linked_;       // those that are links, or have files that are
  Node* last_linked_ = nullptr;  // that was looked at; it may be gone
  size_t num_nodes_ = 0;
  bool is_first_ = false;
  bool is_full_ = false;
};

}  // namespace lorry::adapters

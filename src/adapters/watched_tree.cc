#include "adapters/watched_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "adapters/sources/source_uri.h"
#include "base/path_text.h"
#include "formats/adapter_files.h"
#include "formats/file_descriptor.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "request/model_directory.h"

namespace lorry::adapters {
namespace {

using formats::kAdapterConfigFile;
using formats::kAdapterTorchFile;
using formats::kAdapterWeightsFile;

constexpr size_t kMaxArchives = 64;  // of a directory
constexpr size_t kMaxSaid = 64;      // lines about one directory

// "": they are whole. A file that is still being copied is shorter than its header says; others are
// a pointer to the file, a web page, a link that leads nowhere.
std::string WhyNotWhole(const std::string& dir, bool has_safetensors) {
  if (!has_safetensors) return "";
  const std::string path = fmt::format("{}/{}", dir, kAdapterWeightsFile);
  const auto header = formats::SafetensorsHeader::Read(path);
  if (header) return "";
  return std::string(WithoutPath(path, header.error().message));
}

}  // namespace

// A directory, told apart from others by where it is.
struct WatchedTree::Node {
  Node* parent = nullptr;
  std::string path;
  std::string name;  // below the watched directory, which has none
  int depth = 0;
  std::map<std::string, std::unique_ptr<Node>> children;  // by file name
  std::vector<int> watches;
  bool is_link = false, has_linked_files = false;
  dev_t device = 0;
  ino_t inode = 0;
  std::string state;       // its files; empty: they are no adapter's, or not all of them
  std::string told_state;  // as it was told last
  bool is_told = false;
  bool is_broken = false;  // told so since
  Micros changed_us = 0;
  Micros missing_us = kNever;  // since when it has not been what was told
  Micros due_us = kNever;
  std::set<std::string> said;
};

struct WatchedTree::Listing {
  int error = 0;
  dev_t device = 0;
  ino_t inode = 0;
  std::vector<std::string> dirs, archives;
  std::set<std::string> linked_dirs;  // of dirs, those that are links
  std::vector<std::string> deep;      // of dirs, those with an adapter
  bool has_linked_files = false;
  bool has_config = false, has_safetensors = false, has_torch = false;
  // Of an adapter's files, which are looked at where there are some of them.
  std::string state;
  std::vector<std::string> elsewhere;  // what tells of changes to them: links, and their folders

  static Listing Of(const std::string& path, bool looks_deeper);
  void Take(int dir_fd, const dirent& entry, bool looks_deeper);
  void LookAtFiles(int dir_fd);
};

WatchedTree::Listing WatchedTree::Listing::Of(const std::string& path, bool looks_deeper) {
  Listing listing;
  struct stat status;
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr || ::fstat(::dirfd(dir), &status) != 0) {
    listing.error = errno;
    if (dir != nullptr) ::closedir(dir);
    return listing;
  }
  listing.device = status.st_dev;
  listing.inode = status.st_ino;
  const int fd = ::dirfd(dir);
  errno = 0;
  while (const dirent* entry = ::readdir(dir)) {
    listing.Take(fd, *entry, looks_deeper);
    errno = 0;
  }
  listing.error = errno;
  std::ranges::sort(listing.archives);
  if (listing.has_config || listing.has_safetensors || listing.has_torch) listing.LookAtFiles(fd);
  ::closedir(dir);
  return listing;
}

void WatchedTree::Listing::Take(int dir_fd, const dirent& entry, bool looks_deeper) {
  const std::string name = entry.d_name;
  if (name == "." || name == "..") return;
  bool is_dir = entry.d_type == DT_DIR;
  if (entry.d_type == DT_LNK || entry.d_type == DT_UNKNOWN) {
    struct stat status;
    is_dir = ::fstatat(dir_fd, name.c_str(), &status, 0) == 0 && S_ISDIR(status.st_mode);
  }
  if (is_dir) {
    dirs.push_back(name);
    if (entry.d_type != DT_DIR) linked_dirs.insert(name);
    const std::string config = fmt::format("{}/{}", name, kAdapterConfigFile);
    if (looks_deeper && ::faccessat(dir_fd, config.c_str(), F_OK, 0) == 0) deep.push_back(name);
    return;
  }
  has_config |= name == kAdapterConfigFile;
  has_safetensors |= name == kAdapterWeightsFile;
  has_torch |= name == kAdapterTorchFile;
  if (archives.size() < kMaxArchives && !ArchiveSuffix(name).empty()) archives.push_back(name);
}

void WatchedTree::Listing::LookAtFiles(int dir_fd) {
  struct stat status;
  for (const std::string_view name : formats::AdapterFileNames()) {
    const std::string folder(formats::AdapterFileFolder(name));
    if (!folder.empty() && std::ranges::find(elsewhere, folder) == elsewhere.end()) {
      if (::fstatat(dir_fd, folder.c_str(), &status, 0) != 0) continue;
      elsewhere.push_back(folder);
      state += fmt::format("{} {} {}\n", folder, status.st_ino, status.st_dev);
    }
    const std::string file(name);
    if (::fstatat(dir_fd, file.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISLNK(status.st_mode)) {
      has_linked_files = true;
      elsewhere.push_back(file);
      if (::fstatat(dir_fd, file.c_str(), &status, 0) != 0) continue;
    }
    // The inode and its own time tell files that were put in the place of others, whatever time
    // they were given.
    state += fmt::format("{} {} {}.{} {}.{} {} {}\n", file, status.st_size, status.st_mtim.tv_sec,
                         status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
                         status.st_ino, status.st_dev);
  }
}

WatchedTree::WatchedTree(std::vector<std::string> dirs, WatchHooks hooks)
    : hooks_(std::move(hooks)) {
  for (std::string& dir : dirs) {
    roots_.push_back(std::make_unique<Node>());
    roots_.back()->path = std::move(dir);
    ++num_nodes_;
  }
}

WatchedTree::~WatchedTree() = default;

void WatchedTree::Begin(Micros now_us) {
  is_first_ = true;
  LookAtAll(now_us);
  is_first_ = false;
}

void WatchedTree::LookAtAll(Micros now_us) {
  for (const auto& root : roots_) Look(*root, now_us, true);
}

void WatchedTree::LookIfAnother(Node& node, Micros now_us) {
  struct stat status;
  const bool is_there = ::stat(node.path.c_str(), &status) == 0;
  if (is_there && status.st_dev == node.device && status.st_ino == node.inode) return;
  if (is_there || node.inode != 0) Due(node, now_us);
}

void WatchedTree::LookBehindLinks(Micros now_us) {
  for (const auto& root : roots_) LookIfAnother(*root, now_us);
  auto next = linked_.upper_bound(last_linked_);
  for (int i = 0; i < kLinkedAtOnce && next != linked_.end(); ++i, ++next) {
    last_linked_ = *next;
    (*next)->has_linked_files ? Due(**next, now_us) : LookIfAnother(**next, now_us);
  }
  if (next == linked_.end()) last_linked_ = nullptr;
}

void WatchedTree::OnEvent(int watch, const std::string& name, Micros now_us) {
  const auto found = followers_.find(watch);
  if (found == followers_.end()) return;
  for (Node* node : found->second) {
    Due(*node, now_us + kFirstLookUs);
    // Another directory may be there under its name.
    const auto child = node->children.find(name);
    if (child != node->children.end()) Due(*child->second, now_us + kFirstLookUs);
  }
}

void WatchedTree::OnWatchGone(int watch) {
  const auto found = followers_.find(watch);
  if (found == followers_.end()) return;
  for (Node* node : found->second) std::erase(node->watches, watch);
  followers_.erase(found);
}

// The earlier of two times holds.
void WatchedTree::Due(Node& node, Micros us) {
  if (us >= node.due_us) return;
  if (node.due_us != kNever) due_.erase({node.due_us, &node});
  node.due_us = us;
  due_.insert({us, &node});
}

void WatchedTree::LookAtDue(Micros now_us) {
  while (!due_.empty() && due_.begin()->first <= now_us) {
    Node& node = *due_.begin()->second;
    due_.erase(due_.begin());
    node.due_us = kNever;
    Look(node, now_us, false);
  }
}

// The node may be gone afterwards.
void WatchedTree::Look(Node& node, Micros now_us, bool with_children) {
  // Before it is listed: what changes from now on is told of.
  if (node.watches.empty() || with_children) AddWatch(node, node.path);
  const Listing listing = Listing::Of(node.path, node.depth == kMaxDepth);
  if (listing.error == ENOENT || listing.error == ENOTDIR) return LookWhereNothingIs(node, now_us);
  if (listing.error != 0) {
    SayOnce(node, fmt::format("cannot be read: {}; what was known of it stays",
                              std::generic_category().message(listing.error)));
    return;
  }
  const bool is_another = node.device != listing.device || node.inode != listing.inode;
  if (is_another) {
    const bool is_new = node.inode == 0;
    if (!is_new || node.parent == nullptr) {
      Unfollow(node);
      AddWatch(node, node.path);
    }
    if (!is_new) Due(node, now_us + kSettleUs);  // it may have changed before it was followed
    if (is_new && node.parent == nullptr) node.said.clear();
  }
  if (node.parent == nullptr) node.missing_us = kNever;
  node.device = listing.device;
  node.inode = listing.inode;
  const bool may_differ = with_children || listing.state != node.state;
  if (may_differ && (node.watches.size() != 1 || !listing.elsewhere.empty())) Follow(node, listing);
  node.has_linked_files = listing.has_linked_files;
  KeepLinked(node);
  FollowChildren(node, listing, now_us, with_children || is_another);
  Judge(node, listing, now_us);
}

// It may be on its way from one place to another, or about to be written anew.
void WatchedTree::LookWhereNothingIs(Node& node, Micros now_us) {
  if (node.missing_us == kNever) node.missing_us = now_us;
  if (now_us - node.missing_us < kSettleUs) return Due(node, node.missing_us + kSettleUs);
  if (node.parent != nullptr) return Forget(node);
  node.inode = 0;  // the watched directory itself may come back
  Unfollow(node);
  while (!node.children.empty()) Forget(*node.children.begin()->second);
  SayOnce(node, "is gone, and so are its adapters");
}

void WatchedTree::FollowChildren(Node& node, const Listing& listing, Micros now_us,
                                 bool with_children) {
  std::set<std::string> present;
  for (const std::string& dir : listing.dirs) {
    if (dir.starts_with('.') || node.depth == kMaxDepth) continue;
    present.insert(dir);
    const auto found = node.children.find(dir);
    const bool is_new = found == node.children.end();
    if (is_new && num_nodes_ >= kMaxDirectories) {
      if (!std::exchange(is_full_, true)) {
        SayOnce(node, fmt::format("more than {} directories are below the watched ones: the others "
                                  "are passed over",
                                  kMaxDirectories));
      }
      continue;
    }
    Node& child = is_new ? AddChild(node, dir) : *found->second;
    child.is_link = listing.linked_dirs.contains(dir);
    KeepLinked(child);
    if (is_new || with_children) Look(child, now_us, true);
  }
  for (auto next = node.children.begin(); next != node.children.end();) {
    Node& child = *(next++)->second;
    if (!present.contains(child.path.substr(node.path.size() + 1))) {
      LookWhereNothingIs(child, now_us);
    }
  }
  for (const std::string& dir : listing.deep) {
    SayOnce(node, fmt::format("{} is passed over: adapters lie at most {} directories deep",
                              formats::Quoted(dir), kMaxDepth));
  }
}

WatchedTree::Node& WatchedTree::AddChild(Node& parent, const std::string& file_name) {
  auto child = std::make_unique<Node>();
  child->parent = &parent;
  child->path = parent.path + "/" + file_name;
  child->name = parent.name.empty() ? file_name : parent.name + "/" + file_name;
  child->depth = parent.depth + 1;
  ++num_nodes_;
  return *(parent.children[file_name] = std::move(child));
}

void WatchedTree::KeepLinked(Node& node) {
  node.is_link || node.has_linked_files ? void(linked_.insert(&node)) : void(linked_.erase(&node));
}

// With all that is below it.
void WatchedTree::Forget(Node& node) {
  while (!node.children.empty()) Forget(*node.children.begin()->second);
  Release(node);
  Unfollow(node);
  linked_.erase(&node);
  if (node.due_us != kNever) due_.erase({node.due_us, &node});
  --num_nodes_;
  is_full_ = false;
  node.parent->children.erase(node.path.substr(node.parent->path.size() + 1));
}

// What its files are, and since when.
void WatchedTree::Judge(Node& node, const Listing& listing, Micros now_us) {
  const bool has_config = listing.has_config;
  const bool has_weights = listing.has_safetensors || listing.has_torch;
  for (const std::string& file : listing.archives) {
    if (has_config) break;
    SayOnce(node, fmt::format("{} is passed over: archives are not looked into here; unpack it, or "
                              "register it by its path",
                              formats::Quoted(file)));
  }
  if (node.parent == nullptr) {
    if (has_config) {
      SayOnce(node,
              "is an adapter itself, which has no name here: give the directory above it, or "
              "--adapter NAME=DIR");
    }
    return;
  }
  if (listing.state != node.state) {
    node.state = listing.state;
    node.changed_us = now_us;
    node.said.clear();
  }
  if (node.is_told && !node.is_broken && node.told_state == node.state) {
    node.missing_us = kNever;
    return;
  }
  const Micros unchanged_us = is_first_ ? kAbandonedUs : now_us - node.changed_us;
  if (unchanged_us < kSettleUs) return Due(node, node.changed_us + kSettleUs);
  const std::string why = WhyNotWhole(node.path, listing.has_safetensors);
  if (has_config && has_weights && why.empty()) {
    node.missing_us = kNever;
    return Tell(node);
  }
  const bool is_part = has_config || has_weights;
  if (!is_part && !node.is_told) return;
  if (node.missing_us == kNever) node.missing_us = now_us;
  // Whoever writes it anew takes longer than that, but not without writing.
  const Micros since_us = std::max(node.missing_us, node.changed_us);
  if (!is_first_ && now_us - since_us < kAbandonedUs) return Due(node, since_us + kAbandonedUs);
  if (is_part) {
    const std::string line =
        !has_config ? fmt::format("is passed over: it has no {}", kAdapterConfigFile)
        : !has_weights
            ? fmt::format("is passed over: it has no {}", kAdapterWeightsFile)
            : fmt::format("is passed over until {} is complete: {}", kAdapterWeightsFile, why);
    const bool stays = node.is_told && has_config && has_weights;
    if (SayOnce(node, line) && stays) {
      node.is_broken = true;
      hooks_.broken(node.name, line);
    }
  }
  // Half-written weights are no reason to take away what was there.
  if (!has_config || !has_weights) Release(node);
}

void WatchedTree::Tell(Node& node) {
  if (const Status status = CheckAdapterName(node.name); !status) {
    SayOnce(node,
            "is passed over: its path below the watched directory is no name for an "
            "adapter: letters, digits and . _ - / may stand in it, at most 256");
    return;
  }
  const auto [owner, is_free] = owners_.try_emplace(node.name, &node);
  if (owner->second != &node) {
    SayOnce(node, fmt::format("is passed over: the name is that of {}", owner->second->path));
    return;
  }
  node.is_told = true;
  node.is_broken = false;
  node.told_state = node.state;
  hooks_.found(node.name, node.path);
}

// It is no adapter any more; one of the same name below another watched directory may be.
void WatchedTree::Release(Node& node) {
  node.is_broken = false;
  if (!std::exchange(node.is_told, false)) return;
  node.told_state.clear();
  owners_.erase(node.name);
  hooks_.gone(node.name);
  for (const auto& root : roots_) {
    Node* other = root.get();
    std::string_view rest = node.name;
    while (other != nullptr && !rest.empty()) {
      const std::string part(rest.substr(0, rest.find('/')));
      rest.remove_prefix(std::min(part.size() + 1, rest.size()));
      const auto child = other->children.find(part);
      other = child == other->children.end() ? nullptr : child->second.get();
    }
    if (other != nullptr && other != &node) Due(*other, 0);
  }
}

void WatchedTree::AddWatch(Node& node, const std::string& path) {
  const int watch = hooks_.follow(path);
  if (watch < 0) return;
  auto& followers = followers_[watch];
  if (std::ranges::find(followers, &node) != followers.end()) return;
  followers.push_back(&node);
  node.watches.push_back(watch);
}

// The directory, the folders in it that an adapter's files lie in, and the files elsewhere that
// links lead to; nothing else any more.
void WatchedTree::Follow(Node& node, const Listing& listing) {
  if (hooks_.follow(node.path) < 0) return;  // as long as it cannot, what there is stays
  const std::vector<int> before = std::exchange(node.watches, {});
  for (const int watch : before) std::erase(followers_[watch], &node);
  AddWatch(node, node.path);
  for (const std::string& file : listing.elsewhere) AddWatch(node, node.path + "/" + file);
  for (const int watch : before) DropIfUnused(watch);
}

void WatchedTree::Unfollow(Node& node) {
  for (const int watch : std::exchange(node.watches, {})) {
    std::erase(followers_[watch], &node);
    DropIfUnused(watch);
  }
}

void WatchedTree::DropIfUnused(int watch) {
  const auto found = followers_.find(watch);
  if (found == followers_.end() || !found->second.empty()) return;
  followers_.erase(found);
  hooks_.unfollow(watch);
}

bool WatchedTree::SayOnce(Node& node, const std::string& line) {
  if (node.said.size() >= kMaxSaid || !node.said.insert(line).second) return false;
  hooks_.say(fmt::format("{}: {}", formats::Quoted(node.path), line));
  return true;
}

}  // namespace lorry::adapters

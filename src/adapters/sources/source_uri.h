// Where an adapter's files are, as people write it.
// Owns: nothing. Thread: any. Never: looks at the file system or the network.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry::adapters {

enum class SourceKind {
  kDirectory,  // "/dir", "./dir", "~/dir" is not one, "file:///dir"; or an archive in the same
               // forms
  kHub,        // "org/name", "hf://org/name", "hf://org/name@revision/sub/folder"
  kS3,         // "s3://bucket/prefix"
  kGs,         // "gs://bucket/prefix"
  kAzure,      // "az://container/prefix"
  kHttp,       // "https://host/directory", "https://host/adapter.tar.gz"
};

std::string_view SourceKindName(SourceKind kind);  // "directory", "hub", "s3", ...

struct SourceUri {
  SourceKind kind = SourceKind::kDirectory;
  std::string text;      // as it is shown and compared: without user, password and query of a URL
  std::string location;  // directory or file, "org/name", bucket, or the whole URL
  std::string path;      // folder of a Hub repository, key prefix or key; no slash at either end
  std::string revision;  // Hub only; "main" if none was written
};

// "org/name" without a scheme is the Hub's, never a directory: what a name means may not depend on
// where the server was started. A Hub revision with slashes writes them as %2F.
Result<SourceUri> ParseSourceUri(std::string_view text);

// A relative directory becomes one below `working_directory`, which is absolute: what is written
// down must mean the same to a server that is started elsewhere.
SourceUri Anchored(SourceUri uri, std::string_view working_directory);

// Who is waited for when it is fetched: a host, a bucket, the Hub. Sources of one host may all be
// slow together.
std::string HostOf(const SourceUri& uri);

// The text aside, which leaves out what may be secret.
bool IsSameSource(const SourceUri& a, const SourceUri& b);

// An error's text behind the source that it is about: "hf://org/name: has no adapter_config.json".
// The source, and the path of its files that the text may begin with, are named once.
std::string AboutSource(const SourceUri& uri, std::string_view message);

// ".tar.gz", ".tgz", ".tar" or ".zip" if a path ends so, else empty.
std::string_view ArchiveSuffix(std::string_view path);

}  // namespace lorry::adapters

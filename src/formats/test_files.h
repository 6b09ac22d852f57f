// For tests: a directory that goes away, and safetensors files made by hand, right or wrong.
// Owns: the directory. Thread: one test.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/testing/source_dir.h"

namespace lorry::formats {

class TempDir {
 public:
  TempDir() {
    std::string pattern = ::testing::TempDir() + "lorry_formats_XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  TempDir(const TempDir&) = delete;
  ~TempDir() { std::filesystem::remove_all(path_); }

  std::string Path(std::string_view name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }
  // Returns the path.
  std::string Write(std::string_view name, std::string_view content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    // Some file systems bring a file that is written anew to the disk at once; not a new one.
    std::filesystem::remove(path_ / name);
    std::ofstream(path_ / name, std::ios::binary) << content;
    return Path(name);
  }

 private:
  std::filesystem::path path_;
};

// A file with this header, whatever it says, and this data.
inline std::string RawSafetensors(std::string_view header, std::string_view data) {
  const uint64_t header_bytes = header.size();
  std::string file(sizeof(header_bytes), '\0');
  std::memcpy(file.data(), &header_bytes, sizeof(header_bytes));
  return file.append(header).append(data);
}

// One tensor for MakeSafetensors.
struct TestTensor {
  std::string name;
  std::string dtype;
  std::string shape;  // as JSON: "[2, 3]"
  std::string data;
};

inline std::string MakeSafetensors(const std::vector<TestTensor>& tensors) {
  std::string header = "{", data;
  for (const TestTensor& tensor : tensors) {
    if (header.size() > 1) header += ",";
    header += "\"" + tensor.name + "\":{\"dtype\":\"" + tensor.dtype +
              "\",\"shape\":" + tensor.shape + ",\"data_offsets\":[" + std::to_string(data.size()) +
              "," + std::to_string(data.size() + tensor.data.size()) + "]}";
    data += tensor.data;
  }
  return RawSafetensors(header + "}", data);
}

inline std::string FloatBytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

inline std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline std::string OraclePath(std::string_view name) {
  return SourcePath("tests/data/oracle/").append(name);
}

}  // namespace lorry::formats

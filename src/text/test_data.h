// Where tests find their data: in the project, or in the folder that LORRY_TEST_DATA names.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "base/testing/source_dir.h"

namespace lorry::text {

inline std::string ReadTestFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::string ProjectFile(const std::string& name) {
  return ReadTestFile(SourcePath("tests/data/text/") + name);
}

inline boost::json::value ProjectJson(const std::string& name) {
  return boost::json::parse(ProjectFile(name));
}

inline std::optional<std::string> OutsideDir(const std::string& name) {
  const char* root = std::getenv("LORRY_TEST_DATA");
  if (root == nullptr) return std::nullopt;
  return std::string(root) + "/" + name;
}

}  // namespace lorry::text

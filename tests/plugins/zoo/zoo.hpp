// Where the zoo's animals are, and how a test meets them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "connector/registry.hpp"

namespace sluice::connector::zoo {

inline std::filesystem::path animal(const std::string& name) {
  return std::filesystem::path(SLUICE_ZOO_DIR) / (name + ".so");
}

/// A directory of its own for each test, gone afterwards.
class ZooTest : public ::testing::Test {
 protected:
  ZooTest() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-zoo-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  ~ZooTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  [[nodiscard]] Registry registry() const { return Registry(Store(directory_ / "store")); }

  std::filesystem::path directory_;
};

}  // namespace sluice::connector::zoo

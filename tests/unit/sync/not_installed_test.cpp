#include "sync/not_installed.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sluice::sync {
namespace {

connector::Shelved shelf_with(const std::vector<std::string>& ids) {
  connector::Shelved shelved;
  for (const std::string& id : ids) {
    auto manifest = std::make_shared<contract::Manifest>();
    manifest->id = id;
    connector::ShelfFile file;
    file.manifest = std::move(manifest);
    shelved.files.push_back(std::move(file));
  }
  shelved.files.emplace_back();  // one that is no connector
  return shelved;
}

TEST(NotInstalled, GivesACommandOnlyForAConnectorThatThereIs) {
  const connector::Shelved shelved = shelf_with({"hubspot", "stripe"});
  EXPECT_EQ(not_installed(shelved, "stripe").hint, "sluice connector install stripe");
  const Error misspelt = not_installed(shelved, "strpe");
  EXPECT_EQ(misspelt.code, "installation.missing");
  EXPECT_NE(misspelt.hint.find("Did you mean 'stripe'?"), std::string::npos) << misspelt.hint;
  for (const char* unknown : {"strpe", "zendesk"})
    EXPECT_EQ(not_installed(shelved, unknown).hint.find("connector install"), std::string::npos);
}

}  // namespace
}  // namespace sluice::sync

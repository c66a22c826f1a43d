// A host whose connector directory a test fills while it runs.
#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "e2e/world.hpp"

namespace sluice::e2e {

/// Harbour (tests/plugins/versions) is what gets dropped in; its vendor is the fake Stripe.
class HotPlug : public World {
 protected:
  HotPlug();

  /// With the directory below, which is empty at first. Remembers the process, so that
  /// expect_no_restart() can tell.
  void start_host(const std::string& failpoints = "");
  void expect_no_restart();

  static std::filesystem::path version(const std::string& name);  ///< "harbour_100"
  static std::filesystem::path animal(const std::string& name);   ///< of the zoo
  /// Copies it in, whole at once, as old as the original.
  void drop(const std::filesystem::path& file, const std::string& as);
  nlohmann::json file(const std::string& name);
  bool becomes(const std::string& name, const std::string& state);
  /// Of GET connectors: the entry of that version, or null.
  nlohmann::json listed(const std::string& id, const std::string& version);

  nlohmann::json install(const std::string& id, const nlohmann::json& body);
  /// What connects it, without a configuration.
  [[nodiscard]] nlohmann::json harbour(const std::string& name) const;
  nlohmann::json connect_harbour(const std::string& name, const nlohmann::json& config);
  /// Asks the host, expects a refusal, returns its code.
  Error refusal(const std::string& method, const std::string& path, const nlohmann::json& body);
  nlohmann::json send(const std::string& method, const std::string& path,
                      const nlohmann::json& body = nlohmann::json::object());

  std::string state(const std::string& connection);
  bool state_becomes(const std::string& connection, const std::string& wanted);
  bool is_read(const std::string& connection, const std::string& stream);
  void slow_customers(int ms);

  std::filesystem::path plugins_;
  int pid_ = 0;
};

}  // namespace sluice::e2e

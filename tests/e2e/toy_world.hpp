// A shop whose connectors were written without the SDK, a host that has them, and an admin: what
// the end-to-end tests of plugins need.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "e2e/world.hpp"

namespace sluice::e2e {

inline constexpr const char* kToyKey = "toy_key_0001";

/// Toyshop (tests/support/toy_vendor) as a process; its control side.
class ToyVendor {
 public:
  explicit ToyVendor(const std::filesystem::path& directory, int page_max = 25);

  [[nodiscard]] const std::string& url() const { return url_; }
  void post(const std::string& what, const nlohmann::json& body) { ask(what, body.dump()); }
  nlohmann::json get(const std::string& what) {
    return nlohmann::json::parse(ask(what, std::nullopt));
  }
  /// Every live entity of "toys" or "makers", by id.
  std::map<std::string, nlohmann::json> truth(const std::string& type) {
    return get("truth/" + type).get<std::map<std::string, nlohmann::json>>();
  }

 private:
  std::string ask(const std::string& what, const std::optional<std::string>& body);

  std::unique_ptr<Process> process_;
  std::string url_;
};

struct Language {
  const char* name;  ///< also the folder under toys/
  const char* id;    ///< of its connector
};
/// C11, and Rust where this build has a compiler for it.
std::vector<Language> languages();

class ToyWorld : public World {
 protected:
  /// A shop with pages of at most `page_max`, a host that finds the toys' connectors (and looks
  /// into `directories` too), and an own type "customer".
  void open_shop(int toys, int makers, std::vector<std::string> directories = {},
                 int page_max = 25);
  /// Installs and connects; makers are polled each second.
  void connect(const std::string& id, const std::string& key = kToyKey);
  /// Reads every toy again; what is not there any more is looked for.
  void read_all_toys(const std::string& id);

  /// One value of one entity as text; "gone" when there is no such entity.
  std::string column(const std::string& id, const std::string& type, const std::string& what,
                     const std::string& entity);
  bool becomes(const std::string& id, const std::string& type, const std::string& what,
               const std::string& entity, const std::string& value);

  /// The first difference between what is stored and the shop's truth; empty when there is none.
  std::string difference(const std::string& id);
  /// The shop's truth arrives; makers by themselves, toys by the read that is under way.
  void expect_the_shops_truth(const std::string& id);

  std::unique_ptr<ToyVendor> vendor_;
};

}  // namespace sluice::e2e

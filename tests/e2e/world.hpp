// A fake Stripe, a host with its private database, and an admin: what an end-to-end test needs.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/client.hpp"
#include "e2e/process.hpp"

namespace sluice::e2e {

inline constexpr const char* kKey = "sk_test_e2e_0001";

/// The fake vendor as a process; its control side.
class FakeStripe {
 public:
  FakeStripe(const std::filesystem::path& directory, int customers,
             std::vector<std::string> more = {});
  [[nodiscard]] const std::string& url() const { return url_; }
  nlohmann::json control(const std::string& method, const std::string& path,
                         const nlohmann::json& body = nullptr);
  std::string text(const std::string& path);
  /// Every live object of a type, by id, as the vendor holds it now.
  std::map<std::string, nlohmann::json> truth(const std::string& type);
  [[nodiscard]] nlohmann::json counts();

 private:
  std::unique_ptr<Process> process_;
  std::string url_;
};

/// sluiced in a directory of its own, which survives a kill of the process.
class Host {
 public:
  explicit Host(std::filesystem::path directory);
  ~Host();

  /// Starts and waits until it listens. `failpoints` as SLUICE_FAILPOINTS.
  void start(const std::string& failpoints = "");
  /// Further settings, "key=value", from the next start on; they win over ours.
  std::vector<std::string> settings;
  /// Uses this database instead of a private cluster, from the next start on (libpq's words).
  std::string database;
  bool as_app = true;  ///< there works as sluice_app, and `database` is its owner; else as that
  bool first_of_its_database = true;  ///< a host that comes later is given no token
  std::map<std::string, std::string> environment;
  std::string ca_file;  ///< who vouches for the host, where it speaks TLS
  std::string program;  ///< another sluiced than the one that was built
  void kill_hard();
  /// SIGTERM; returns the exit code.
  int stop();
  [[nodiscard]] Process& process() { return *process_; }
  [[nodiscard]] cli::Client client(const std::string& token = "") const;
  [[nodiscard]] const std::string& url() const { return url_; }
  [[nodiscard]] const std::string& token() const { return token_; }
  [[nodiscard]] std::string log() const;
  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }

  /// Of its database, for libpq.
  [[nodiscard]] std::string conninfo() const;
  /// First column of the first row, as text; fails the test on an SQL error.
  std::string sql(const std::string& statement);
  std::int64_t count(const std::string& statement) { return std::stoll(sql(statement)); }
  /// Each row of a relation as JSON, by external_id.
  std::map<std::string, nlohmann::json> rows(const std::string& relation);

 private:
  std::filesystem::path directory_;
  std::unique_ptr<Process> process_;
  std::string url_;
  std::string token_;
  int starts_ = 0;
};

class World : public ::testing::Test {
 protected:
  World();
  ~World() override;
  void SetUp() override {}

  void start_fake(int customers, std::vector<std::string> more = {});
  /// Own type, connector, connection with short intervals; the host must run.
  void connect(const std::string& key = kKey);
  /// The first two of these, and what the third asks for, to be changed by the test.
  void install();
  [[nodiscard]] nlohmann::json billing(const std::string& key = kKey) const;
  /// As REST shows it: a stream of the connection "billing".
  nlohmann::json stream(const std::string& name);
  /// Reads these streams of "billing" again from their start.
  void read_again(std::vector<std::string> streams);
  void import_own(int count);
  /// Everything read, nothing to fetch again, nothing to link.
  bool settled(std::chrono::seconds most = std::chrono::seconds(120));
  /// For the message when it is not: what is still to be done.
  std::string unsettled();
  /// Compares every type's rows with the fake's truth, attribute by attribute.
  void expect_tables_equal_truth();
  /// Compares what the host says there is of each type with what there is.
  void expect_row_counts_true();

  /// Of own customers: of those that the fake makes, some differ in the case of an address only.
  /// Where it may be there twice, both are stored, and what links to them is contested.
  enum class OwnEmail { unique, may_be_twice };
  OwnEmail own_email_ = OwnEmail::unique;  ///< before install()

  std::filesystem::path directory_;
  std::unique_ptr<FakeStripe> fake_;
  std::unique_ptr<Host> host_;
};

}  // namespace sluice::e2e

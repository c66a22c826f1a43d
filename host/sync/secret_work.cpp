#include "sync/secret_work.hpp"

#include <nlohmann/json.hpp>

#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "contract/manifest.hpp"
#include "sync/secret_purpose.hpp"
#include "sync/send_scope.hpp"

namespace sluice::sync {
namespace {

using work::Batch;
using work::Item;

constexpr std::int64_t kEverySeconds = 3600;  ///< when the task does not say
constexpr std::int64_t kSealedAtOnce = 50;

const pg::Statement kLeads{"secrets_lead", R"(
  select c.config::text, c.egress::text, v.manifest::text
  from sluice.connection c
  join sluice.installation i on i.workspace_id = c.workspace_id and i.connector = c.connector
  join sluice.connector_version v on v.connector = i.connector and v.sha256 = i.sha256
  where c.workspace_id = $1 and c.connection_id = $2)"};

class TidySecrets final : public work::Kind {
 public:
  explicit TidySecrets(vault::Vault& vault) : vault_(vault) {}

  Task<Batch> batch(pg::Connection& connection, pg::Fenced& fenced, const Item& item) override {
    Batch batch;
    const bool needs_sealing = co_await vault_.needs_sealing(connection, item.workspace);
    if (needs_sealing) {
      co_await seal_anew(connection, fenced, item, batch);
      co_return batch;
    }
    batch.items = co_await vault_.tidy(fenced, item.workspace);
    batch.done = true;
    batch.again_in =
        std::chrono::seconds(item.task.value("every_seconds", std::int64_t{kEverySeconds}));
    co_return batch;
  }

 private:
  Task<void> seal_anew(pg::Connection& connection, pg::Fenced& fenced, const Item& item,
                       Batch& batch) {
    const ConnectionId after(item.progress.value("connection", std::int64_t{-1}));
    vault::Ledger::Name behind(after, item.progress.value("name", std::string()));
    const std::vector<vault::Ledger::Name> names = co_await vault_.of_format_before(
        connection, item.workspace, std::move(behind), kSealedAtOnce);
    if (names.empty()) {
      co_await vault_.end_sealing(fenced, item.workspace);
      log::info("vault.sealed_anew", {{"workspace", item.workspace.value}});
      co_return;
    }
    for (const auto& [whose, name] : names) {
      auto purpose = co_await purpose_by_manifest(connection, item.workspace, whose, name);
      bool all = false;
      if (purpose) {
        all = co_await vault_.seal_anew(fenced, item.workspace, whose, name, std::move(*purpose));
      }
      if (all) continue;
      // The others go on: one that nobody can tell where it leads is entered again.
      log::warning("vault.not_sealed_anew",
                   {{"workspace", item.workspace.value},
                    {"connection_id", whose.value},
                    {"name", name},
                    {"reason", purpose ? "" : purpose.error().describe()}});
    }
    batch.items = static_cast<std::int64_t>(names.size());
    batch.progress["connection"] = names.back().first.value;
    batch.progress["name"] = names.back().second;
  }

  /// Where the connection leads as it is set up; by its manifest alone, so that any host can say
  /// it.
  static Task<Result<vault::Purpose>> purpose_by_manifest(pg::Connection& connection,
                                                          WorkspaceId workspace, ConnectionId whose,
                                                          std::string name) {
    const auto leads = co_await connection.query(kLeads, pg::Params(workspace, whose));
    if (leads.empty()) co_return vault::Purpose::of_use("workspace");
    const auto manifest = contract::parse_manifest(leads.text(0, 2), contract::Admission::before);
    if (!manifest) co_return std::unexpected(manifest.error());
    const nlohmann::json config = stored_json(leads.text(0, 0));
    const nlohmann::json egress = stored_json(leads.text(0, 1));
    const fetch::EgressAllowance allowance = expect(read_allowance(egress));
    co_return purpose_of(*manifest, config, allowance, name);
  }

  vault::Vault& vault_;
};

}  // namespace

std::unique_ptr<work::Kind> tidy_secrets_kind(vault::Vault& vault) {
  return std::make_unique<TidySecrets>(vault);
}

}  // namespace sluice::sync

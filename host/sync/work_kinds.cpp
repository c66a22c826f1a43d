#include "sync/work_kinds.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "journal/append.hpp"
#include "link/batches.hpp"
#include "link/rekey.hpp"
#include "model/catalog_version.hpp"
#include "model/columns.hpp"
#include "model/currencies.hpp"
#include "model/own_entities.hpp"
#include "model/storage.hpp"
#include "sync/type_drop.hpp"
#include "sync/view_work.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;
using work::Batch;
using work::Item;

/// Work that goes by the catalogue: read in each batch's own transaction, and guarded there.
class ByCatalog : public work::Kind {
 public:
  [[nodiscard]] bool refused(std::string_view sqlstate) const override {
    return sqlstate == model::kCatalogChangedState;
  }
};

class ApplyRule final : public ByCatalog {
 public:
  Task<Batch> batch(pg::Connection& connection, pg::Fenced& fenced, const Item& item) override {
    const model::CatalogPtr catalog = co_await model::load_catalog(connection, item.workspace);
    Batch batch;
    model::add_catalog_guard(batch.guards, *catalog);
    const model::StoredRule* const rule = catalog->find_rule(item.subject);
    if (rule == nullptr) {
      batch.done = true;
    } else if (rule->going) {
      co_await forget(fenced, item, *rule, batch);
    } else if (item.progress.value("enqueues", item.task.value(kKeepsLinks, false))) {
      co_await enqueue(fenced, item, *rule, batch);
    } else {
      co_await deactivate(fenced, item, *rule, batch);
    }
    co_return batch;
  }

 private:
  static Task<void> forget(pg::Fenced& fenced, const Item& item, const model::StoredRule& rule,
                           Batch& batch) {
    // From the beginning, however far another batch was: whatever is there goes.
    link::DeactivatedPart part =
        co_await link::forget_part(fenced, item.workspace, rule.id, rule.name, EntityId(0));
    part.changes.append_to(batch.last, item.workspace);
    batch.items = part.looked;
    batch.done = !part.more;
  }

  static Task<void> deactivate(pg::Fenced& fenced, const Item& item, const model::StoredRule& rule,
                               Batch& batch) {
    const EntityId after(item.progress.value("after", std::int64_t{0}));
    link::DeactivatedPart part =
        co_await link::deactivate_part(fenced, item.workspace, rule.id, rule.name, after);
    part.changes.append_to(batch.last, item.workspace);
    batch.items = part.looked;
    if (part.more) {
      batch.progress["after"] = part.last.value;
    } else if (rule.enabled) {
      batch.progress["enqueues"] = true;
    } else {
      batch.done = true;
    }
  }

  static Task<void> enqueue(pg::Fenced& fenced, const Item& item, const model::StoredRule& rule,
                            Batch& batch) {
    const EntityId after(item.progress.value("after", std::int64_t{-1}));
    pg::Uuid digest;
    const auto bytes = from_hex(item.progress.value("digest", std::string()));
    if (bytes && bytes->size() == std::size(digest.bytes))
      std::copy(bytes->begin(), bytes->end(), std::begin(digest.bytes));
    const link::EnqueuedPart part =
        co_await link::enqueue_part(fenced, item.workspace, rule, digest, after);
    batch.items = part.enqueued;
    batch.done = !part.more;
    batch.progress["enqueues"] = true;
    batch.progress["digest"] = to_hex(part.digest.bytes);
    batch.progress["after"] = part.last.value;
  }
};

class MakeKeys final : public ByCatalog {
 public:
  Task<Batch> batch(pg::Connection& connection, pg::Fenced& fenced, const Item& item) override {
    const model::CatalogPtr catalog = co_await model::load_catalog(connection, item.workspace);
    Batch batch;
    model::add_catalog_guard(batch.guards, *catalog);
    const model::StoredType* type = catalog->find(item.task.at("type").get<std::string>());
    const model::StoredAttribute* attribute =
        type == nullptr ? nullptr : type->find(item.task.at("attribute").get<std::string>());
    model::StoredAttribute gone;  // without a key: whatever has one loses it
    if (type != nullptr && attribute == nullptr && item.task.contains("position")) {
      gone.name = item.task.at("attribute").get<std::string>();
      gone.position = item.task.at("position").get<std::int16_t>();
      attribute = &gone;
    }
    batch.done = attribute == nullptr;
    if (batch.done) co_return batch;
    const EntityId after(item.progress.value("after", std::int64_t{-1}));
    const link::RekeyPart part =
        co_await link::rekey_part(fenced, item.workspace, *type, *attribute, after);
    co_await model::remake_unique(fenced, item.workspace, *type, *attribute, part.ids);
    batch.items = part.looked;
    batch.done = !part.more;
    batch.progress["after"] = part.last.value;
    co_return batch;
  }
};

const pg::Statement kIndexIs{"work_index_is", R"(
  select i.indisvalid, exists (select 1 from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)
  from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'vendor' and c.relname = $1)"};

constexpr std::chrono::hours kIndexTimeMax{1};

/// Builds an index beside whoever reads and writes. One that is there and whole is left alone, one
/// that a killed host left half built is dropped first.
Task<void> build_index(pg::Connection& connection, std::string name, std::string create) {
  const auto is = co_await connection.query(kIndexIs, pg::Params(name));
  const bool is_valid = !is.empty() && is.get<bool>(0, 0);
  if (!is_valid && !is.empty() && is.get<bool>(0, 1)) {
    throw Failure(Error(ErrorKind::retry_later, "index.under_way",
                        "the index " + name + " is being built by somebody else"));
  }
  if (is_valid) co_return;
  struct Patience {
    pg::Connection& connection;
    std::chrono::milliseconds before = connection.query_timeout();
    ~Patience() { connection.set_query_timeout(before); }
  } patience{connection};
  connection.set_query_timeout(kIndexTimeMax);
  const std::string drop =
      fmt::format("drop index concurrently if exists vendor.{}", model::quote_name(name));
  if (!is.empty()) co_await connection.query(drop);
  co_await connection.query(create);
}

class MakeIndex final : public work::Outside {
 public:
  Task<void> before(pg::Connection& connection, const Item& item) override {
    const auto table = item.task.at("table").get<std::string>();
    const auto attribute = item.task.at("attribute").get<std::string>();
    std::string name = model::reference_index_name(table, attribute);
    std::string create = model::create_reference_index(table, attribute, "concurrently");
    co_await build_index(connection, std::move(name), std::move(create));
    const std::vector<std::string> former = model::former_reference_index_names(table, attribute);
    for (const std::string& one : former) {
      const std::string drop_former =
          "drop index concurrently if exists vendor." + model::quote_name(one);
      co_await connection.query(drop_former);
    }
  }
};

class MakeCurrencyIndex final : public work::Outside {
 public:
  Task<void> before(pg::Connection& connection, const Item& item) override {
    const auto table = item.task.at("table").get<std::string>();
    const auto attribute = item.task.at("attribute").get<std::string>();
    std::string name = model::currency_index_name(table, attribute);
    std::string create = model::create_currency_index(table, attribute, "concurrently");
    co_await build_index(connection, std::move(name), std::move(create));
  }
};

const pg::Statement kNextType{"deletion_next_type", R"(
  select name, relation, type_id from sluice.entity_type
  where workspace_id = $1 and connector = $2 and origin = 'preset' and name > $3 order by name limit 1)"};
/// Of the entities $2.
const pg::Statement kForgetEntities[] = {
    {"deletion_keys",
     "delete from sluice.link_key where workspace_id = $1 and entity_id = any ($2)"},
    {"deletion_links", "delete from sluice.link where workspace_id = $1 and source_id = any ($2)"},
    {"deletion_decisions",
     "delete from sluice.link_decision where workspace_id = $1 and source_id = any ($2)"},
    {"deletion_erase_changes",
     "update sluice.change set op = 'erased', external_id = '', changed = null "
     "where workspace_id = $1 and entity_id = any ($2) and op <> 'erased'"},
};
const pg::Statement kLockConnection{"deletion_lock", R"(
  select 1 from sluice.connection where workspace_id = $1 and connection_id = $2 for update)"};
const pg::Statement kForgetConnection{"deletion_connection", R"(
  delete from sluice.connection where workspace_id = $1 and connection_id = $2 and state = 'DISCONNECTED')"};

constexpr int kDeletedEntities = 200;  ///< of a batch, with all that the feed said of them
constexpr std::int64_t kDeletedRows = 2'000;

/// Everything of a connection that is no entity, children before parents; a batch takes some of
/// one.
const pg::Statement kForget[] = {
    {"deletion_refetch",
     "delete from sluice.refetch where ctid = any(array(select ctid from sluice.refetch "
     "where workspace_id = $1 and connection_id = $2 limit $3))"},
    {"deletion_seen",
     "delete from sluice.seen where ctid = any(array(select ctid from sluice.seen "
     "where workspace_id = $1 and connection_id = $2 limit $3))"},
    {"deletion_quarantine",
     "delete from sluice.quarantine where ctid = any(array(select ctid from sluice.quarantine "
     "where workspace_id = $1 and connection_id = $2 limit $3))"},
    {"deletion_runs",
     "delete from sluice.sync_run where ctid = any(array(select ctid from sluice.sync_run "
     "where workspace_id = $1 and connection_id = $2 limit $3))"},
    {"deletion_secrets",
     "delete from sluice.secret where ctid = any(array(select ctid from sluice.secret "
     "where workspace_id = $1 and connection_id = $2 limit $3))"},
    {"deletion_streams",
     "delete from sluice.stream where ctid = any(array(select ctid from sluice.stream "
     "where workspace_id = $1 and connection_id = $2 limit $3))"},
    {"deletion_deaths",
     "delete from sluice.connector_death where ctid = any(array(select ctid from "
     "sluice.connector_death where workspace_id = $1 and connection_id = $2 limit $3))"},
};

class DeleteConnection final : public work::Kind {
 public:
  Task<Batch> batch(pg::Connection& connection, pg::Fenced& fenced, const Item& item) override {
    (void)connection;
    const ConnectionId id(item.task.at("connection").get<std::int64_t>());
    Batch batch;
    batch.progress = item.progress;
    const auto table = item.progress.value("table", std::size_t{0});
    if (!item.progress.value("entities_gone", false)) {
      co_await entities(fenced, item, id, batch);
    } else if (table < std::size(kForget)) {
      const auto gone =
          co_await fenced.query(kForget[table], pg::Params(item.workspace, id, kDeletedRows));
      if (gone.affected() < kDeletedRows) batch.progress["table"] = table + 1;
    } else {
      // Locked, it gets no more rows; what came behind its table's batch goes now.
      const auto there = co_await fenced.query(kLockConnection, pg::Params(item.workspace, id));
      for (const pg::Statement& statement : kForget)
        co_await fenced.query(statement, pg::Params(item.workspace, id, kDeletedRows));
      const auto gone = co_await fenced.query(kForgetConnection, pg::Params(item.workspace, id));
      if (!there.empty() && gone.affected() == 0) {
        throw Failure(Error(ErrorKind::conflict, "connection.not_disconnected",
                            "connection '" + item.subject + "' is on, though it is being deleted",
                            "sluice connection disable " + item.subject));
      }
      batch.done = true;
    }
    co_return batch;
  }

 private:
  static Task<void> entities(pg::Fenced& fenced, const Item& item, ConnectionId id, Batch& batch) {
    const auto connector = item.task.at("connector").get<std::string>();
    const auto behind = item.progress.value("type", std::string());
    const auto type =
        co_await fenced.query(kNextType, pg::Params(item.workspace, connector, behind));
    if (type.empty()) {
      batch.progress["entities_gone"] = true;
      co_return;
    }
    const auto name = type.get<std::string>(0, 0);
    const auto relation = type.get<std::string>(0, 1);
    const std::string table =
        "vendor." + model::quote_name(relation.substr(relation.find('.') + 1));
    const std::string look = fmt::format(
        "select id, external_id from {} where workspace_id = $1 and connection_id = $2 "
        "order by external_id limit {}",
        table, kDeletedEntities);
    const auto rows = co_await fenced.query(look, pg::Params(item.workspace, id));
    if (rows.empty()) {
      batch.progress["type"] = name;
      co_return;
    }
    pg::Array ids(pg::Oid::int8), external_ids(pg::Oid::text);
    for (int row = 0; row < rows.rows(); ++row) {
      ids.add(rows.get<std::int64_t>(row, 0));
      external_ids.add(rows.text(row, 1));
    }
    const std::string remove = fmt::format(
        "delete from {} where workspace_id = $1 and connection_id = $2 and external_id = any ($3)",
        table);
    pg::Params doomed(item.workspace, id, std::move(external_ids));
    co_await fenced.query(remove, std::move(doomed));
    for (const pg::Statement& statement : kForgetEntities) {
      pg::Params params(item.workspace, ids);
      co_await fenced.query(statement, std::move(params));
    }
    batch.items = rows.rows();
    journal::Source source;
    source.workspace = item.workspace;
    source.connection = id;
    journal::Changes told;  // by its id alone: the feed keeps nothing of it
    const auto type_id = type.get<std::int64_t>(0, 2);
    for (int row = 0; row < rows.rows(); ++row)
      told.add(type_id, rows.get<std::int64_t>(row, 0), "delete", "", "");
    told.append_to(batch.last, source);
  }
};

}  // namespace

std::map<std::string, std::unique_ptr<work::Kind>> work_kinds(Retention kept) {
  std::map<std::string, std::unique_ptr<work::Kind>> kinds;
  kinds[kApplyRule] = std::make_unique<ApplyRule>();
  kinds[kMakeKeys] = std::make_unique<MakeKeys>();
  kinds[kDeleteConnection] = std::make_unique<DeleteConnection>();
  kinds[kApplyRetention] = retention_kind(kept);
  kinds[kRenewViews] = renew_views_kind();
  kinds[kDropType] = drop_type_kind();
  return kinds;
}

std::map<std::string, std::unique_ptr<work::Kind>> build_kinds() {
  std::map<std::string, std::unique_ptr<work::Kind>> kinds;
  kinds[kMakeIndex] = std::make_unique<MakeIndex>();
  kinds[kMakeCurrencyIndex] = std::make_unique<MakeCurrencyIndex>();
  return kinds;
}

}  // namespace sluice::sync

// Connectors in a workspace: which version it has, and whether it is on.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "base/failpoint.hpp"
#include "base/log.hpp"
#include "connector/version.hpp"
#include "contract/reserved_names.hpp"
#include "model/catalog_version.hpp"
#include "model/columns.hpp"
#include "model/storage.hpp"
#include "pg/sql_sessions.hpp"
#include "sync/audit.hpp"
#include "sync/connections.hpp"
#include "sync/deaths.hpp"
#include "sync/link_rules.hpp"
#include "sync/not_installed.hpp"
#include "sync/stream_words.hpp"
#include "sync/view_work.hpp"
#include "sync/work_kinds.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;

constexpr std::size_t kSha256DigitsMin = 8;

const pg::Statement kAdmit{"installation_admit", R"(
  insert into sluice.connector_version (connector, version, sha256, manifest)
  values ($1, $2, decode($3, 'hex'), $4) on conflict (connector, sha256) do nothing)"};

const pg::Statement kMayRun{"installation_may_run", R"(
  select exists (select 1 from sluice.connector_approval where sha256 = decode($1, 'hex')), h.code, h.reason
  from (select 1) one left join sluice.connector_hold h on h.sha256 = decode($1, 'hex'))"};

const pg::Statement kApprove{"installation_approve", R"(
  insert into sluice.connector_approval (connector, version, sha256, approved_by)
  values ($1, $2, decode($3, 'hex'), $4) on conflict (sha256) do nothing returning true)"};

const pg::Statement kRevoke{"installation_revoke", R"(
  delete from sluice.connector_approval
  where connector = $1 and ($2 = '' or version = $2) and starts_with(encode(sha256, 'hex'), $3)
  returning encode(sha256, 'hex'), version)"};

const pg::Statement kKept{"installation_kept", R"(
  select encode(sha256, 'hex'), version from sluice.connector_version
  where connector = $1 and state = 'admitted' order by admitted_at)"};

const pg::Statement kBefore{"installation_before", R"(
  select encode(i.sha256, 'hex'), i.state, v.version, v.manifest::text
  from sluice.installation i join sluice.connector_version v using (connector, sha256)
  where i.workspace_id = $1 and i.connector = $2 for update of i)"};

const pg::Statement kInstall{"installation_install", R"(
  insert into sluice.installation (workspace_id, connector, sha256)
  values ($1, $2, decode($3, 'hex'))
  on conflict (workspace_id, connector) do update set sha256 = excluded.sha256
  returning state)"};

const pg::Statement kWorkspaceName{"installation_workspace", R"(
  select name from sluice.workspace where workspace_id = $1)"};

// One install at a time in a workspace: the first one of a connector has no row yet to lock.
const pg::Statement kOneAtATime{"installation_one_at_a_time", R"(
  select 1 from sluice.workspace where workspace_id = $1 for no key update)"};

const pg::Statement kAddStreams{"installation_add_streams", R"(
  insert into sluice.stream (workspace_id, connection_id, stream, mode, interval_seconds, next_run_at)
  select c.workspace_id, c.connection_id, s.stream, s.mode, s.seconds,
         case when c.state not in ('DISCONNECTING','DISCONNECTED') then now() end
  from sluice.connection c cross join unnest($3::text[], $4::text[], $5::bigint[]) as s (stream, mode, seconds)
  where c.workspace_id = $1 and c.connector = $2 and c.vendor_account is not null
  on conflict do nothing returning stream)"};

// The checkpoint stays: a version that has the stream again goes on from it. One that is held is
// not held any more, or it would be let go on with the others.
const pg::Statement kEndStreams{"installation_end_streams", R"(
  update sluice.stream s set enabled = false, next_run_at = null, reason = $4,
         error_class = nullif(s.error_class, 'HELD')
  from sluice.connection c
  where c.workspace_id = $1 and c.connector = $2 and s.workspace_id = $1 and s.connection_id = c.connection_id
    and (s.enabled or s.error_class = 'HELD') and not s.stream = any ($3)
  returning s.stream)"};

const pg::Statement kReviveStreams{"installation_revive_streams", R"(
  update sluice.stream s set enabled = true, reason = '',
         next_run_at = case when c.state not in ('DISCONNECTING','DISCONNECTED') then now() end
  from sluice.connection c
  where c.workspace_id = $1 and c.connector = $2 and s.workspace_id = $1 and s.connection_id = c.connection_id
    and not s.enabled and s.stream = any ($3)
  returning s.stream)"};

// Another mode is another stream under the old name: what it read so far means nothing to it.
const pg::Statement kChangeModes{"installation_change_modes", R"(
  update sluice.stream s set mode = m.mode, reading = s.reading + 1, checkpoint = null, checkpoint_format = 0, snapshot_done = false,
         next_run_at = case when s.enabled and c.state not in ('DISCONNECTING','DISCONNECTED') then now() end
  from sluice.connection c, unnest($3::text[], $4::text[]) as m (stream, mode)
  where c.workspace_id = $1 and c.connector = $2 and s.workspace_id = $1 and s.connection_id = c.connection_id
    and s.stream = m.stream and s.mode <> m.mode)"};

// A stream that goes by what the version before said goes by what this one says. What a person set
// stays; nobody can tell a person's word from the version's where the two are the same.
const pg::Statement kNewIntervals{"installation_new_intervals", R"(
  update sluice.stream s set interval_seconds = m.now,
         next_run_at = case when m.now > 0 and s.enabled and c.state not in ('DISCONNECTING','DISCONNECTED')
                            then least(coalesce(s.next_run_at, 'infinity'), now() + m.now * interval '1 second')
                            when s.mode = 'snapshot' and s.snapshot_done then null else s.next_run_at end
  from sluice.connection c, unnest($3::text[], $4::bigint[], $5::bigint[]) as m (stream, before, now)
  where c.workspace_id = $1 and c.connector = $2 and s.workspace_id = $1 and s.connection_id = c.connection_id
    and s.stream = m.stream and s.interval_seconds = m.before and m.before <> m.now)"};

const pg::Statement kSetState{"installation_set_state", R"(
  update sluice.installation set state = $3 where workspace_id = $1 and connector = $2 returning state)"};

const pg::Statement kDisconnectAll{"installation_disconnect_all", R"(
  update sluice.connection set state = 'DISCONNECTING', state_reason = $3
  where workspace_id = $1 and connector = $2 and state not in ('DISCONNECTING','DISCONNECTED')
    and vendor_account is not null
  returning name)"};

const pg::Statement kStillGoing{"installation_still_going", R"(
  select name from sluice.connection
  where workspace_id = $1 and connector = $2 and state = 'DISCONNECTING' order by name)"};

const pg::Statement kOffWithIt{"installation_off_with_it", R"(
  select connection_id from sluice.connection
  where workspace_id = $1 and connector = $2 and state = 'DISCONNECTED' and state_reason = $3 for update)"};

const pg::Statement kReadBefore{"installation_read_before", R"(
  select name from sluice.connection
  where workspace_id = $1 and connector = $2 and state not in ('DISCONNECTING','DISCONNECTED')
    and vendor_account is not null
  order by name limit 6)"};

// One that was in no list before was not shown in major units, and is now: nothing changes.
const pg::Statement kOtherwiseCounted{"installation_otherwise_counted", R"(
  select c.code from (select jsonb_object_keys($1::jsonb || $2::jsonb)) c (code)
  where sluice.major_units(1, c.code, $1::jsonb) is not null
    and sluice.major_units(1, c.code, $2::jsonb) is distinct from sluice.major_units(1, c.code, $1::jsonb)
  order by 1)"};

constexpr std::size_t kNamesShownMax = 5;

/// Attributes that `from` has and `to` lacks, of types that both have: "customer.nickname".
std::vector<std::string> attributes_lost(const contract::Manifest& from,
                                         const contract::Manifest& to) {
  std::vector<std::string> names;
  for (const contract::EntityType& type : from.entity_types) {
    const auto index = to.type_index(type.name);
    if (!index) continue;
    for (const contract::Attribute& attribute : type.attributes) {
      if (!to.entity_types[*index].attribute_index(attribute.name))
        names.push_back(type.name + "." + attribute.name);
    }
  }
  return names;
}

std::string in_words(std::vector<std::string> names) {
  const bool more = names.size() > kNamesShownMax;
  if (more) names.resize(kNamesShownMax);
  return fmt::format("{}{}", fmt::join(names, ", "), more ? ", …" : "");
}

/// Work on an attribute of `of`, a type or a table.
work::NewWork work_on(const char* kind, const char* member, const std::string& of,
                      const std::string& attribute, const Actor& actor) {
  work::NewWork work;
  work.kind = kind;
  work.subject = of + "." + attribute;
  work.task[member] = of;
  work.task["attribute"] = attribute;
  work.actor = actor.name();
  return work;
}

/// What the install changed about things that entities may depend on already.
Task<void> put_work(pg::Transaction& transaction, WorkspaceId workspace,
                    const model::Installed& changed, Actor actor) {
  for (const model::Installed::Key& key : changed.keys) {
    work::NewWork keys = work_on(kMakeKeys, "type", key.type, key.attribute, actor);
    co_await work::put(transaction, workspace, std::move(keys));
  }
  for (const std::string& rule : changed.rules)
    co_await apply_rule(transaction, workspace, rule, actor.name());
  for (const model::Installed::Index& index : changed.indexes) {
    work::NewWork make = work_on(kMakeIndex, "table", index.table, index.attribute, actor);
    co_await work::put(transaction, workspace, std::move(make));
  }
  for (const model::Installed::Index& index : changed.currency_indexes) {
    work::NewWork make = work_on(kMakeCurrencyIndex, "table", index.table, index.attribute, actor);
    co_await work::put(transaction, workspace, std::move(make));
  }
  co_await renew_views(transaction, workspace, actor.name());
}

std::vector<std::string> names_of(const pg::QueryResult& rows) {
  std::set<std::string> names;
  for (int row = 0; row < rows.rows(); ++row) names.insert(rows.get<std::string>(row, 0));
  return {names.begin(), names.end()};
}

json detail_of(const ApprovedVersion& version) {
  json detail = json::object();
  detail["version"] = version.version;
  detail["sha256"] = version.sha256;
  return detail;
}

/// Empty, or the beginning of a hash.
Result<void> check_content(const std::string& sha256) {
  if (sha256.empty() || (sha256.size() >= kSha256DigitsMin &&
                         sha256.find_first_not_of("0123456789abcdef") == std::string::npos))
    return {};
  return fail(ErrorKind::bad_input, "connector.bad_sha256",
              "sha256 must be 8 to 64 lower-case hex digits", "sluice connector list");
}

/// What `now` makes another column of, or none: an amount in major units, and what an attribute
/// refers to. Of both types' attributes; one that `now` does not read any more keeps its columns.
void add_changed_columns(const contract::EntityType& was, const contract::EntityType& now,
                         std::vector<std::string>& changed) {
  for (const contract::Attribute& before : was.attributes) {
    const auto index = now.attribute_index(before.name);
    if (before.format != contract::kMinorUnits || !index) continue;
    const contract::Attribute& after = now.attributes[*index];
    const std::string column = was.name + "." + contract::major_name(before.name);
    if (after.format != contract::kMinorUnits)
      changed.push_back(fmt::format("{} (no amount in minor units any more)", column));
    else if (after.currency != before.currency)
      changed.push_back(fmt::format("{} (its currency is in {}, and was in {})", column,
                                    after.currency, before.currency));
  }
  for (const contract::Relationship& before : was.relationships) {
    const auto after =
        std::ranges::find(now.relationships, before.name, &contract::Relationship::name);
    if (after == now.relationships.end())
      changed.push_back(fmt::format("relationship {}.{}", was.name, before.name));
    else if (after->attribute != before.attribute || after->target != before.target)
      changed.push_back(fmt::format("relationship {}.{} (it is {} to {}, and was {} to {})",
                                    was.name, before.name, after->attribute, after->target,
                                    before.attribute, before.target));
  }
}

/// What views and filters have of both manifests' types by `installed`, and would not have any
/// more, or otherwise, by `wanted`. For people.
std::vector<std::string> changed_between(const contract::Manifest& installed,
                                         const contract::Manifest& wanted) {
  std::vector<std::string> changed;
  for (const contract::EntityType& type : installed.entity_types) {
    if (const auto index = wanted.type_index(type.name))
      add_changed_columns(type, wanted.entity_types[*index], changed);
  }
  return changed;
}

bool has_amounts(const contract::Manifest& manifest) {
  return std::ranges::any_of(manifest.entity_types, [](const contract::EntityType& type) {
    return std::ranges::any_of(type.attributes, [](const contract::Attribute& attribute) {
      return attribute.format == contract::kMinorUnits;
    });
  });
}

/// Currencies of which an amount is shown otherwise, or not any more, by what `now` says of them.
Task<std::vector<std::string>> changed_currencies(pg::Transaction& transaction,
                                                  const contract::Manifest& was,
                                                  const contract::Manifest& now) {
  std::vector<std::string> changed;
  if (was.currency_exponents == now.currency_exponents || !has_amounts(was)) co_return changed;
  const auto rows = co_await transaction.query(
      kOtherwiseCounted, pg::Params(was.currency_exponents, now.currency_exponents));
  for (int row = 0; row < rows.rows(); ++row)
    changed.push_back(fmt::format("amounts in {} (another number of digits behind the point)",
                                  rows.text(row, 0)));
  co_return changed;
}

}  // namespace

std::vector<std::string> lost_between(const contract::Manifest& installed,
                                      const contract::Manifest& wanted) {
  std::vector<std::string> lost;
  for (const contract::EntityType& type : installed.entity_types) {
    const auto index = wanted.type_index(type.name);
    if (!index) {
      lost.push_back("entity type " + type.name);
      continue;
    }
    for (const contract::Attribute& attribute : type.attributes) {
      if (!wanted.entity_types[*index].attribute_index(attribute.name))
        lost.push_back(fmt::format("attribute {}.{}", type.name, attribute.name));
    }
  }
  for (const contract::Stream& stream : installed.streams) {
    if (wanted.find_stream(stream.name) == nullptr) lost.push_back("stream " + stream.name);
  }
  return lost;
}

/// A content that would do, and where it came from.
struct Connections::Choice {
  std::string version, sha256, file;
};

namespace {

/// Why a file of that name, or a whole directory, was not read.
std::optional<Error> not_looked_at(const connector::Shelved& shelved, std::string_view connector) {
  for (const connector::ShelfFile& file : shelved.files) {
    if (file.manifest == nullptr && file.reason && file.file.stem() == connector)
      return file.reason;
  }
  if (!shelved.errors.empty()) return shelved.errors.front();
  return std::nullopt;
}

}  // namespace

Task<Result<Connections::Choice>> Connections::choose(pg::Pool& pool,
                                                      const InstallRequest& wanted) {
  if (auto content = check_content(wanted.sha256); !content)
    co_return std::unexpected(std::move(content.error()));
  const auto fits = [&](std::string_view version, std::string_view sha256) {
    return (wanted.version.empty() || version == wanted.version) &&
           sha256.starts_with(wanted.sha256);
  };
  const connector::ShelvedPtr shelved = services_.registry.shelf().shelved();
  std::vector<Choice> choices;
  std::set<std::string> ids, versions;
  const connector::ShelfFile* refused = nullptr;
  for (const connector::ShelfFile& file : shelved->files) {
    if (file.manifest == nullptr) continue;
    ids.insert(file.manifest->id);
    if (file.manifest->id != wanted.connector) continue;
    versions.insert(file.manifest->version);
    if (!fits(file.manifest->version, file.sha256)) continue;
    if (file.state != connector::FileState::admitted) {
      refused = &file;
      continue;
    }
    const bool there = std::any_of(choices.begin(), choices.end(), [&](const Choice& choice) {
      return choice.sha256 == file.sha256;
    });
    if (!there) choices.push_back(Choice{file.manifest->version, file.sha256, file.file.string()});
  }
  // What lies in the store only is not offered any more, but is there for who names it.
  const auto kept = co_await pool.query(kKept, pg::Params(wanted.connector));
  std::vector<Choice> kept_choices;
  for (int row = 0; row < kept.rows(); ++row) {
    Choice choice{kept.get<std::string>(row, 1), kept.get<std::string>(row, 0), "the host's store"};
    if (!services_.registry.has(choice.sha256)) continue;
    versions.insert(choice.version);
    if (fits(choice.version, choice.sha256)) kept_choices.push_back(std::move(choice));
  }
  const bool named = !wanted.version.empty() || !wanted.sha256.empty();
  if (choices.empty() && named) choices = std::move(kept_choices);
  if (choices.empty() && refused != nullptr) {
    co_return fail(refused->reason->kind, refused->reason->code, refused->reason->message,
                   refused->reason->hint);
  }
  // A file or a directory that is not looked into may be where it lies. Whose they are is an
  // operator's matter.
  if (choices.empty() && !named) {
    const std::optional<Error> unread = not_looked_at(*shelved, wanted.connector);
    if (unread && wanted.approval == Approval::given) co_return std::unexpected(*unread);
    if (unread) {
      co_return fail(unread->kind, unread->code,
                     "this host refuses a directory or file of connectors, where " +
                         wanted.connector + " may lie",
                     "An operator sees which, and what mends it: sluice connector list");
    }
  }
  if (choices.empty() && !versions.empty()) {
    co_return fail(
        ErrorKind::not_found, "connector.version_unknown",
        named ? fmt::format("connector {} has no version {}{} here", wanted.connector,
                            wanted.version, wanted.sha256)
              : fmt::format("no file of connector {} lies in this host's directories any more",
                            wanted.connector),
        fmt::format("There are: {}; name one with --version", fmt::join(versions, ", ")));
  }
  if (choices.empty()) {
    co_return fail(ErrorKind::not_found, "connector.unknown",
                   "there is no connector '" + wanted.connector + "'",
                   ids.empty()
                       ? "No connector was found; see connectors.directories in the configuration"
                       : fmt::format("There are: {}", fmt::join(ids, ", ")));
  }
  const auto newest =
      std::max_element(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) {
        return connector::compare_versions(a.version, b.version) < 0;
      });
  for (const Choice& other : choices) {
    if (other.sha256 == newest->sha256 ||
        connector::compare_versions(other.version, newest->version) != 0)
      continue;
    const bool same_text = other.version == newest->version;
    co_return fail(ErrorKind::conflict, "connector.version_ambiguous",
                   fmt::format("{} {} is there with two contents: {} ({}) and {} ({}){}",
                               wanted.connector, newest->version, newest->file,
                               newest->sha256.substr(0, 12), other.file, other.sha256.substr(0, 12),
                               same_text ? std::string()
                                         : fmt::format("; {} is the same version", other.version)),
                   same_text ? "Remove one of the files, or name the content with --sha256"
                             : "Remove one of the files, or name one with --version or --sha256");
  }
  co_return *newest;
}

Task<void> Connections::change_streams(pg::Transaction& transaction, WorkspaceId workspace,
                                       const contract::Manifest& manifest,
                                       InstallOutcome& outcome) {
  pg::Array names(pg::Oid::text), modes(pg::Oid::text), seconds(pg::Oid::int8);
  for (const contract::Stream& stream : manifest.streams) {
    names.add(std::string_view(stream.name));
    modes.add(mode_of(stream));
    seconds.add(stream.interval_seconds);
  }
  pg::Params with_modes(workspace, manifest.id, names, modes);
  co_await transaction.query(kChangeModes, std::move(with_modes));
  pg::Params ending(
      workspace, manifest.id, names,
      fmt::format("version {} of the connector has no such stream", manifest.version));
  const auto gone = co_await transaction.query(kEndStreams, std::move(ending));
  outcome.gone_streams = names_of(gone);
  pg::Params adding(workspace, manifest.id, names, modes, seconds);
  const auto added = co_await transaction.query(kAddStreams, std::move(adding));
  outcome.new_streams = names_of(added);
}

namespace {

Task<void> follow_intervals(pg::Transaction& transaction, WorkspaceId workspace,
                            const contract::Manifest& before, const contract::Manifest& now) {
  pg::Array names(pg::Oid::text), then(pg::Oid::int8), from_now(pg::Oid::int8);
  for (const contract::Stream& stream : now.streams) {
    const contract::Stream* const was = before.find_stream(stream.name);
    if (was == nullptr || was->interval_seconds == stream.interval_seconds) continue;
    names.add(std::string_view(stream.name));
    then.add(was->interval_seconds);
    from_now.add(stream.interval_seconds);
  }
  if (names.size() == 0) co_return;
  pg::Params params(workspace, now.id, std::move(names), std::move(then), std::move(from_now));
  co_await transaction.query(kNewIntervals, std::move(params));
}

/// What rows that were read by the version before have of it: nothing tells a reader why a new
/// column is empty, or why an old one never changes any more.
Task<void> tell_of_rows(pg::Transaction& transaction, WorkspaceId workspace,
                        const contract::Manifest& before, const contract::Manifest& now,
                        InstallOutcome& outcome) {
  const std::vector<std::string> gained = attributes_lost(now, before);
  const std::vector<std::string> lost = attributes_lost(before, now);
  if (gained.empty() && lost.empty()) co_return;
  const auto read = co_await transaction.query(kReadBefore, pg::Params(workspace, now.id));
  if (read.empty()) co_return;
  std::vector<std::string> again;
  for (int row = 0; row < read.rows(); ++row)
    again.push_back(fmt::format("sluice sync {} --full", read.text(row, 0)));
  if (!gained.empty()) {
    outcome.notes.push_back(
        fmt::format("new: {}; empty in rows that were read before, until they are read again: {}",
                    in_words(gained), in_words(std::move(again))));
  }
  if (!lost.empty()) {
    outcome.notes.push_back(
        fmt::format("no longer read: {}; rows keep the values that they have", in_words(lost)));
  }
}

}  // namespace

namespace {

std::unexpected<Error> version_lacks(const contract::Manifest& wanted,
                                     const contract::Manifest& installed,
                                     const std::vector<std::string>& lost) {
  constexpr std::ptrdiff_t kShown = 20;
  const auto end = lost.begin() + std::min(kShown, std::ssize(lost));
  return fail(
      ErrorKind::conflict, "connector.version_lacks",
      fmt::format("{} {} lacks or changes {} of what the installed {} has: {}{}", wanted.id,
                  wanted.version, lost.size(), installed.version,
                  fmt::join(lost.begin(), end, ", "), end == lost.end() ? "" : ", …"),
      "Views, filters and queries may ask by them. With --accept-loss it is installed all the "
      "same: what is not read any more keeps its data, which is no longer renewed");
}

}  // namespace

Task<Result<void>> Connections::change_catalogue(pg::Transaction& transaction,
                                                 WorkspaceId workspace,
                                                 const connector::ConnectorCode& code,
                                                 const InstallRequest& wanted, const Actor& actor,
                                                 InstallOutcome& outcome) {
  const contract::Manifest& manifest = code.manifest();
  const auto before = co_await transaction.query(kBefore, pg::Params(workspace, manifest.id));
  std::optional<contract::Manifest> installed;
  if (!before.empty()) {
    if (before.text(0, 0) != code.sha256()) outcome.replaced = before.get<std::string>(0, 2);
    auto parsed = contract::parse_manifest(before.text(0, 3), contract::Admission::before);
    if (parsed) installed = std::move(*parsed);
  }
  const bool older =
      installed && connector::compare_versions(manifest.version, installed->version) < 0;
  std::vector<std::string> lost;
  if (older) lost = lost_between(*installed, manifest);
  if (installed) {
    std::ranges::move(changed_between(*installed, manifest), std::back_inserter(lost));
    std::vector<std::string> currencies =
        co_await changed_currencies(transaction, *installed, manifest);
    std::ranges::move(currencies, std::back_inserter(lost));
  }
  if (!lost.empty() && !wanted.accept_loss) co_return version_lacks(manifest, *installed, lost);
  co_await transaction.query(
      kAdmit, pg::Params(manifest.id, manifest.version, code.sha256(), manifest.document));
  model::Installed changed;
  std::optional<Error> refused;
  try {
    changed = co_await model::install_types(transaction, workspace, manifest);
  } catch (const Failure& failure) {
    if (!failure.error().code.starts_with("type.")) throw;
    refused = failure.error();
  }
  if (refused) co_return std::unexpected(std::move(*refused));
  const auto row =
      co_await transaction.query(kInstall, pg::Params(workspace, manifest.id, code.sha256()));
  co_await put_work(transaction, workspace, changed, actor);
  outcome.notes = changed.notes;
  if (!lost.empty()) outcome.notes.push_back("accepted: " + in_words(lost));
  outcome.state = row.get<std::string>(0, 0);
  co_await change_streams(transaction, workspace, manifest, outcome);
  if (installed) {
    co_await tell_of_rows(transaction, workspace, *installed, manifest, outcome);
    co_await follow_intervals(transaction, workspace, *installed, manifest);
    // Off because the version before had no such stream, not because somebody paused it.
    pg::Array back(pg::Oid::text);
    for (const contract::Stream& stream : manifest.streams) {
      if (installed->find_stream(stream.name) == nullptr) back.add(std::string_view(stream.name));
    }
    pg::Params reviving(workspace, manifest.id, std::move(back));
    const auto revived = co_await transaction.query(kReviveStreams, std::move(reviving));
    for (std::string& name : names_of(revived)) outcome.new_streams.push_back(std::move(name));
  }
  co_return Result<void>();
}

/// Why its code may not run here; an operator's install approves it, and lifts no hold.
Task<std::optional<Error>> Connections::may_not_run(pg::Pool& pool, const ConnectorFile& file,
                                                    Approval approval) {
  const auto said = co_await pool.query(kMayRun, pg::Params(file.sha256));
  if (!said.is_null(0, 1))
    co_return held_file(file, said.get<std::string>(0, 1), said.get<std::string>(0, 2));
  if (approval == Approval::given || said.get<bool>(0, 0)) co_return std::nullopt;
  co_return Error(
      ErrorKind::denied, "connector.not_approved",
      fmt::format("no operator has approved {} {} ({}…) yet", file.connector, file.version,
                  file.sha256.substr(0, 12)),
      fmt::format("A connector is code that runs in the host: ask an operator for sluice "
                  "connector approve {} --sha256 {}",
                  file.connector, file.sha256.substr(0, 12)));
}

Task<bool> Connections::put_approval(pg::Transaction& transaction, const ApprovedVersion& version,
                                     Actor actor) {
  pg::Params params(version.connector, version.version, version.sha256, actor.name());
  const auto put = co_await transaction.query(kApprove, std::move(params));
  co_return !put.empty();
}

Task<Result<ApprovedVersion>> Connections::approve(WorkspaceId workspace, InstallRequest wanted,
                                                   Actor actor) {
  pg::Pool pool = changing(workspace);
  const auto chosen = co_await choose(pool, wanted);
  if (!chosen) co_return std::unexpected(chosen.error());
  const ApprovedVersion version{wanted.connector, chosen->version, chosen->sha256};
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const bool is_new = co_await put_approval(transaction, version, actor);
  std::string sha256 = version.sha256;
  const bool lifted = co_await lift_hold(transaction, std::move(sha256));
  json detail = detail_of(version);
  detail["before"] = !is_new;
  if (lifted) detail["lifted"] = true;
  co_await audit(transaction, workspace, std::move(actor), "connector.approve", version.connector,
                 std::move(detail));
  co_await transaction.commit();
  services_.registry.release(version.sha256);
  if (lifted && changed_) changed_(workspace);
  co_return version;
}

Task<Result<std::vector<ApprovedVersion>>> Connections::revoke(WorkspaceId workspace,
                                                               InstallRequest wanted, Actor actor) {
  if (auto content = check_content(wanted.sha256); !content)
    co_return std::unexpected(std::move(content.error()));
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  pg::Params which(wanted.connector, wanted.version, wanted.sha256);
  const auto rows = co_await transaction.query(kRevoke, std::move(which));
  if (rows.empty()) {
    co_await transaction.rollback();
    co_return fail(
        ErrorKind::not_found, "connector.nothing_to_revoke",
        fmt::format("no content of connector '{}' that is named so is approved", wanted.connector),
        "sluice connector list");
  }
  std::vector<ApprovedVersion> revoked;
  for (int row = 0; row < rows.rows(); ++row) {
    ApprovedVersion version{wanted.connector, rows.get<std::string>(row, 1),
                            rows.get<std::string>(row, 0)};
    ConnectorFile file(version.connector, version.version, version.sha256);
    std::string code = "connector.revoked";
    std::string reason = fmt::format(
        "an operator took back the approval of {} {} ({}…): it runs for nobody until one approves "
        "it again",
        version.connector, version.version, version.sha256.substr(0, 12));
    co_await hold_file(transaction, std::move(file), std::move(code), std::move(reason));
    revoked.push_back(std::move(version));
  }
  json detail = json::object();
  detail["contents"] = json::array();
  for (const ApprovedVersion& version : revoked) detail["contents"].push_back(detail_of(version));
  co_await audit(transaction, workspace, std::move(actor), "connector.revoke", wanted.connector,
                 std::move(detail));
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return revoked;
}

namespace {

/// Who reads a table of the connector's by SQL, and stays, is out of the way of the next try.
Task<void> make_way(pg::Connection& connection, const contract::Manifest& manifest) {
  std::vector<std::string> tables;
  for (const contract::EntityType& type : manifest.entity_types)
    tables.push_back("vendor." + model::quote_name(model::table_name(manifest.id, type.name)));
  const pg::ReadersLimits limits;
  co_await pg::end_sql_sessions(connection, limits, std::move(tables));
}

}  // namespace

Task<Result<InstallOutcome>> Connections::install(WorkspaceId workspace, InstallRequest wanted,
                                                  Actor actor) {
  pg::Pool pool = changing(workspace);
  const auto chosen = co_await choose(pool, wanted);
  if (!chosen) co_return std::unexpected(chosen.error());
  ConnectorFile file(wanted.connector, chosen->version, chosen->sha256);
  std::optional<Error> refused = co_await may_not_run(pool, file, wanted.approval);
  if (refused) co_return std::unexpected(std::move(*refused));
  StepOwner owner;
  owner.workspace = workspace;
  owner.connector = wanted.connector;
  const auto code = co_await loader_.obtain(std::move(file), std::move(owner));
  if (!code) co_return std::unexpected(code.error());
  InstallOutcome outcome;
  outcome.connector = wanted.connector;
  outcome.version = chosen->version;
  outcome.sha256 = chosen->sha256;
  auto lease = co_await pool.acquire();
  const auto named = co_await lease->query(kWorkspaceName, pg::Params(workspace));
  if (named.empty())
    co_return fail(ErrorKind::not_found, "workspace.unknown", "there is no such workspace");
  const std::string workspace_name = named.get<std::string>(0, 0);
  auto transaction = co_await pg::Transaction::begin(*lease);
  co_await transaction.query(kOneAtATime, pg::Params(workspace));
  const auto changed =
      co_await change_catalogue(transaction, workspace, **code, wanted, actor, outcome);
  if (!changed) {
    co_await transaction.rollback();
    if (changed.error().code == "type.table_busy") co_await make_way(*lease, (*code)->manifest());
    co_return std::unexpected(changed.error());
  }
  if (!outcome.replaced.empty()) {
    std::string connector = outcome.connector, sha256 = outcome.sha256;
    co_await forget_deaths_of_others(transaction, workspace, std::move(connector),
                                     std::move(sha256));
  }
  const ApprovedVersion approved{wanted.connector, outcome.version, outcome.sha256};
  json detail = detail_of(approved);
  if (wanted.approval == Approval::given) {
    const bool is_new = co_await put_approval(transaction, approved, actor);
    if (is_new) detail["approved"] = true;
  }
  if (!outcome.replaced.empty()) detail["replaced"] = outcome.replaced;
  if (wanted.accept_loss) detail["accept_loss"] = true;
  co_await audit(transaction, workspace, actor, "connector.install", wanted.connector,
                 std::move(detail));
  co_await model::raise_catalog_version(transaction, workspace);
  co_await transaction.commit();
  SLUICE_FAILPOINT("install.committed");
  services_.catalogs.invalidate(workspace);
  log::info("connector.installed", {{"workspace", workspace_name},
                                    {"connector", outcome.connector},
                                    {"version", outcome.version},
                                    {"replaced", outcome.replaced}});
  // Durable work does it too, should we die here; now, so that who installed can ask at once.
  const std::vector<std::string> notes =
      co_await view_rounds_.renew(*lease, workspace, workspace_name);
  outcome.notes.insert(outcome.notes.end(), notes.begin(), notes.end());
  if (changed_) changed_(workspace);
  co_return outcome;
}

Task<Result<std::vector<std::string>>> Connections::disable_connector(WorkspaceId workspace,
                                                                      std::string connector,
                                                                      Actor actor) {
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto set =
      co_await transaction.query(kSetState, pg::Params(workspace, connector, "disabled"));
  if (set.empty()) {
    co_await transaction.rollback();
    co_return std::unexpected(not_installed(*services_.registry.shelf().shelved(), connector));
  }
  const auto off = co_await transaction.query(kDisconnectAll,
                                              pg::Params(workspace, connector, kOffWithConnector));
  std::vector<std::string> names = names_of(off);
  json detail = json::object();
  detail["connections"] = names;
  co_await audit(transaction, workspace, actor, "connector.disable", connector, std::move(detail));
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return names;
}

Task<Result<std::vector<std::string>>> Connections::enable_connector(WorkspaceId workspace,
                                                                     std::string connector,
                                                                     Actor actor) {
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto set =
      co_await transaction.query(kSetState, pg::Params(workspace, connector, "enabled"));
  if (set.empty()) {
    co_await transaction.rollback();
    co_return std::unexpected(not_installed(*services_.registry.shelf().shelved(), connector));
  }
  // Pages of a session that still ends could store a checkpoint behind the one that we clear.
  const auto going = co_await transaction.query(kStillGoing, pg::Params(workspace, connector));
  if (!going.empty()) {
    co_await transaction.rollback();
    co_return fail(ErrorKind::conflict, "connection.disconnecting",
                   fmt::format("{} of its connections, {} first, is still being turned off",
                               going.rows(), going.text(0, 0)),
                   "Ask again when sluice connection list says DISCONNECTED");
  }
  const auto off =
      co_await transaction.query(kOffWithIt, pg::Params(workspace, connector, kOffWithConnector));
  pg::Array connections(pg::Oid::int8);
  for (int row = 0; row < off.rows(); ++row) connections.add(off.get<ConnectionId>(row, 0).value);
  std::vector<std::string> names = co_await restart(transaction, workspace, std::move(connections));
  json detail = json::object();
  detail["connections"] = names;
  co_await audit(transaction, workspace, actor, "connector.enable", connector, std::move(detail));
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return names;
}

}  // namespace sluice::sync

#include "ingest/writer.hpp"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <functional>
#include <ranges>
#include <set>
#include <utility>

#include "base/check.hpp"
#include "base/decimal.hpp"
#include "base/failpoint.hpp"
#include "base/json_text.hpp"
#include "base/log.hpp"
#include "ingest/hash.hpp"
#include "ingest/shape.hpp"
#include "ingest/tail.hpp"
#include "ingest/validate.hpp"
#include "link/inside.hpp"
#include "link/normalise.hpp"
#include "model/catalog_version.hpp"
#include "model/columns.hpp"
#include "pg/fenced.hpp"

namespace sluice::ingest {

PageCounts& PageCounts::operator+=(const PageCounts& other) {
  records += other.records;
  inserted += other.inserted;
  updated += other.updated;
  unchanged += other.unchanged;
  older += other.older;
  deleted += other.deleted;
  quarantined += other.quarantined;
  notices += other.notices;
  return *this;
}

/// A batch and the catalogue that it refers to.
class CheckedPage {
 public:
  CheckedPage(const contract::Manifest& of, model::CatalogPtr by, const contract::Page& page)
      : manifest(&of),
        catalog(std::move(by)),
        batch(of, *catalog, page),
        rounds(batch.rounds(&batch.notes)) {}
  void make_copies(const PageCheck& check);
  CheckedPage(const CheckedPage&) = delete;
  CheckedPage& operator=(const CheckedPage&) = delete;

  [[nodiscard]] bool serves(const PageContext& context) const {
    return !used && manifest == context.manifest && catalog == context.catalog;
  }

  const contract::Manifest* manifest;
  model::CatalogPtr catalog;
  Batch batch;
  std::vector<std::vector<std::uint32_t>> rounds;
  std::map<std::uint32_t, CopyPage> copies;  ///< by type
  bool used = false;                         ///< a write takes rows out of the batch
};

std::shared_ptr<CheckedPage> PageCheck::operator()(const contract::Page& page) const {
  if (catalog == nullptr || page.empty()) return nullptr;
  try {
    auto checked = std::make_shared<CheckedPage>(*manifest, catalog, page);
    checked->make_copies(*this);
    return checked;
  } catch (const Failure&) {  // the writer comes to the same, at the page's turn
    return nullptr;
  }
}

namespace {

using contract::Kind;
using contract::Value;

/// A row that another transaction changes between our look and our write goes round again. Under a
/// lease nobody should; more rounds than this mean that somebody does.
constexpr int kRoundsMax = 8;

/// A COPY has a round trip more than an insert: fewer rows of a type are inserted.
constexpr std::size_t kCopyRowsMin = 50;
/// Of documents that are looked into for keys at paths: 40 ms, for 50 keys of 15 parts.
constexpr std::size_t kInsideBytesAtOnce = 1 << 20;

/// Rows of a round that may be copied, by type and in the round's order.
using RowsByType = std::map<std::uint32_t, std::vector<std::uint32_t>>;
template <class Copied>
RowsByType copyable(const Batch& batch, const std::vector<std::uint32_t>& round, Copied copied) {
  RowsByType by_type;
  for (const std::uint32_t index : round) {
    const Row& row = batch.rows[index];
    if (row.insertable && !row.deleted && copied(row.type)) by_type[row.type].push_back(index);
  }
  std::erase_if(by_type, [](const auto& each) { return each.second.size() < kCopyRowsMin; });
  return by_type;
}

/// Children that a complete set lacks are marked as deleted so many at a time: a parent may have
/// lost a million.

/// Fewer rows of a type are looked up each by itself.
constexpr std::size_t kNearRowsMin = 50;
/// A type whose rows do not lie as the vendor lists them, or that mostly differ, is tried again
/// after so many pages.
constexpr int kFarPages = 32;

/// Where a row stands within its round.
///   near ──same───────> done; else look
///   look ──absent──> insert ──> done    (insert without a look when the type is being loaded)
///     │ └─differs──> update or bury ──> done
///     └─same───────> done;    not returned by insert, update or bury: look again
enum class Next { near, look, insert, update, bury, done };

struct Progress {
  std::uint32_t row = 0;
  Next next = Next::look;
  Found found;
};

/// What one step of a pipeline was about.
struct Step {
  Next what = Next::look;
  std::uint32_t type = 0;
  Presence presence;
  std::vector<std::size_t> members;  ///< indices into the round's progress
};

struct TypeKey {
  ConnectionId connection;
  EntityTypeId type;
  friend auto operator<=>(const TypeKey&, const TypeKey&) = default;
};

std::optional<KeyBatch::Key> key_of(const model::StoredType& type,
                                    const model::StoredAttribute& attribute, std::int64_t entity,
                                    std::string_view text) {
  const auto normal = link::normalise(*attribute.key_kind, text);
  if (!normal) return std::nullopt;
  KeyBatch::Key key;
  key.kind = static_cast<std::int16_t>(*attribute.key_kind);
  key.digest = link::digest(*attribute.key_kind, *normal);
  key.type = type.id.value;
  key.attribute = attribute.position;
  key.entity = entity;
  return key;
}

/// The text of a value that may be a link key; nothing for null and for kinds that are no keys.
std::optional<std::string> key_text(const Value& value) {
  if (value.kind == Kind::string) return std::string(value.text);
  if (value.kind == Kind::decimal) return plain_decimal(value.text);
  if (value.kind == Kind::int64) return std::to_string(value.number);
  return std::nullopt;
}

/// Where it stands in an image that PostgreSQL wrote.
std::string_view name_of(const model::StoredType& type, const KeyDocument& document) {
  if (document.column < 0) return model::kExtraDocument;
  return type.attributes[static_cast<std::size_t>(document.column)].name;
}

/// The order of an object's keys in jsonb.
bool jsonb_less(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

/// Appends a member's value as answers have it: a decimal is a string in its one form.
void append_shown(std::string& out, const model::StoredType& type, std::string_view name,
                  std::string_view value) {
  const model::StoredAttribute* const attribute = type.find(name);
  const bool decimal = attribute != nullptr && attribute->type == contract::AttributeType::decimal;
  if (!decimal || value.starts_with('"') || value == "null") {
    out += value;
  } else {
    append_json_string(out, plain_decimal(value));
  }
}

/// {"attribute":[before,after]} of what differs, as jsonb compares it; empty when nothing does.
std::string difference(const model::StoredType& type, std::string_view before,
                       std::string_view after) {
  const auto old_members = members(before);
  const auto new_members = members(after);
  std::string out;
  std::size_t at = 0;
  for (const auto& [name, value] : old_members) {  // both in jsonb's order; either may have more
    while (at < new_members.size() && jsonb_less(new_members[at].first, name)) ++at;
    if (at == new_members.size()) break;
    if (new_members[at].first != name || same_jsonb(value, new_members[at].second)) continue;
    out += out.empty() ? '{' : ',';
    fmt::format_to(std::back_inserter(out), "\"{}\":[", name);
    append_shown(out, type, name, value);
    out += ',';
    append_shown(out, type, name, new_members[at].second);
    out += ']';
  }
  if (!out.empty()) out.push_back('}');
  return out;
}

std::optional<Micros> plausible(std::optional<Micros> time) {
  return time ? plausible_time(*time) : std::nullopt;
}

std::string_view member(const std::vector<std::pair<std::string_view, std::string_view>>& all,
                        std::string_view name) {
  for (const auto& [key, value] : all) {
    if (key == name) return value;
  }
  return {};
}

/// How a type's rows are met; see Writer.
enum class Meet { look, insert, copy };
struct Manner {
  Meet meet = Meet::look;
  int far_pages = 0;  ///< so many pages more are looked up row by row
};
using Meets = std::map<TypeKey, Manner>;

TypeKey key_of_type(const PageContext& context, const TypePlan& plan) {
  TypeKey key;
  key.connection = context.connection;
  key.type = plan.stored->id;
  return key;
}

const pg::Statement kLearnChildren{"ingest_learn_children", R"(
  insert into sluice.child_set (workspace_id, connector, type, attribute)
  select $1, $2, i.type, i.attribute from unnest($3::text[], $4::text[]) as i (type, attribute)
  on conflict do nothing)"};

const pg::Statement kChildren{"ingest_children", R"(
  select type, attribute from sluice.child_set where workspace_id = $1 and connector = $2)"};

/// Children of a type, by the attribute that holds their parent's id: what complete sets were put
/// out of. `parent` is what the attribute's relationship leads to.
struct ChildKind {
  std::uint32_t type = 0;
  std::uint32_t attribute = 0;
  std::uint32_t parent = 0;
  friend auto operator<=>(const ChildKind&, const ChildKind&) = default;
};

/// Nothing when this version's manifest has no such relationship any more.
std::optional<ChildKind> child_kind(const contract::Manifest& manifest, std::uint32_t type,
                                    std::uint32_t attribute) {
  const contract::EntityType& children = manifest.entity_types.at(type);
  for (const contract::Relationship& edge : children.relationships) {
    if (edge.attribute != children.attributes.at(attribute).name) continue;
    const auto parent = manifest.type_index(edge.target);
    if (!parent) continue;
    ChildKind kind;
    kind.type = type;
    kind.attribute = attribute;
    kind.parent = *parent;
    return kind;
  }
  return std::nullopt;
}

/// What is learned already, by workspace and connector: said once a process.
using Learned = std::set<std::tuple<std::int64_t, std::string, ChildKind>>;

const pg::Statement kTakeIds{
    "ingest_take_ids", "select nextval('sluice.entity_id') from generate_series(1, $1::bigint)"};

/// Entity ids for rows that are copied. Taken by the block; what is left when the host ends, and
/// what a failed page had, is never used.
class Ids {
 public:
  static constexpr std::size_t kBlock = 10'000;

  Task<std::vector<std::int64_t>> take(pg::Connection& connection, std::size_t count) {
    while (free_.size() < count) {  // another page may take some while we wait
      pg::Params params(static_cast<std::int64_t>(std::max(kBlock, count)));
      const pg::QueryResult block = co_await connection.query(kTakeIds, std::move(params));
      for (int row = 0; row < block.rows(); ++row) free_.push_back(block.get<std::int64_t>(row, 0));
    }
    const auto end = free_.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<std::int64_t> taken(free_.begin(), end);
    free_.erase(free_.begin(), end);
    co_return taken;
  }

 private:
  std::deque<std::int64_t> free_;
};

pg::LeaseProof proof_of(const PageContext& context) {
  pg::LeaseProof proof;
  proof.workspace = context.workspace;
  proof.name = context.lease_name;
  proof.epoch = context.epoch;
  return proof;
}

/// The work of one transaction.
class PageWrite {
 public:
  PageWrite(const PageContext& context, Batch& batch, Shapes& shapes, const Meets& meets, Ids& ids,
            const Learned& learned, std::vector<std::vector<std::uint32_t>> rounds,
            std::map<std::uint32_t, CopyPage> copies, bool may_copy, std::int64_t observed,
            Trust trust, const Wishes* wishes)
      : context_(context),
        batch_(batch),
        shapes_(shapes),
        meets_(meets),
        ids_(ids),
        learned_(learned),
        rounds_(std::move(rounds)),
        copies_(std::move(copies)),
        may_copy_(may_copy),
        observed_(observed),
        trust_(trust),
        wishes_(wishes),
        written_(batch.rows.size()) {}

  Task<void> rows(pg::Connection& connection, pg::Fenced& fenced) {
    if (may_copy_ && !rounds_.empty()) co_await copy_new(connection, fenced, rounds_.front());
    if (copied_.empty()) waiting_ = fenced.opening();
    for (const std::vector<std::uint32_t>& round : rounds_) {
      co_await write_round(fenced, round);
    }
  }

  /// Types of which rows were copied, or were to be when it failed.
  [[nodiscard]] const std::set<std::uint32_t>& copied() const { return copied_; }

  Task<void> sets(pg::Fenced& fenced, std::span<const contract::CompleteSet> sets);
  /// Deletes the children of what this page deleted, theirs too.
  Task<void> children(pg::Fenced& fenced, std::span<const contract::CompleteSet> sets);
  [[nodiscard]] const std::vector<ChildKind>& new_children() const { return new_children_; }

  Task<void> finish(pg::Fenced& fenced, const contract::Page& page, const PageEffects& effects) {
    std::vector<Refusal> warnings;
    for (const Note& note : batch_.notes) {
      // An unchanged row was noted when it was written; read again for its own sake, it is noted
      // again, since what this run does not note leaves the quarantine (kForgive).
      if (!written_[note.row] && !context_.stream.empty()) continue;
      const Row& row = batch_.rows[note.row];
      Refusal warning;
      warning.type = batch_.plan(row.type).stored->name;
      warning.external_id = row.external_id;
      warning.code = note.code;
      warning.reason = note.reason;
      warnings.push_back(std::move(warning));
    }
    PageCounts& counts = tail_.counts;
    counts.records = static_cast<std::int64_t>(page.records.size() + page.rejected.size());
    counts.quarantined = static_cast<std::int64_t>(batch_.refusals.size());
    counts.notices = static_cast<std::int64_t>(page.notices.size());
    const std::int64_t told =
        counts.inserted + counts.updated + deleted_records_ + counts.quarantined;
    counts.unchanged = std::max<std::int64_t>(0, counts.records - told - counts.older);
    if (!new_children_.empty()) {
      pg::Array types(pg::Oid::text), attributes(pg::Oid::text);
      for (const ChildKind& kind : new_children_) {
        const contract::EntityType& type = context_.manifest->entity_types.at(kind.type);
        types.add(std::string_view(type.name));
        attributes.add(std::string_view(type.attributes.at(kind.attribute).name));
      }
      pg::Params params(context_.workspace, context_.manifest->id, std::move(types),
                        std::move(attributes));
      waiting_.add(kLearnChildren, std::move(params));
    }
    add_tail(waiting_, context_, page, effects, batch_, warnings, tail_);
    SLUICE_FAILPOINT("ingest.before_commit");
    const auto results = co_await fenced.commit(std::move(waiting_));
    counts.superseded = effects.reading && stream_was_superseded(context_, tail_, results);
  }

  [[nodiscard]] const PageCounts& counts() const { return tail_.counts; }
  /// Of each type, how many rows there were and how many of them were new.
  [[nodiscard]] const std::map<std::uint32_t, std::pair<std::size_t, std::size_t>>& news() const {
    return news_;
  }
  /// Of each type that was looked for nearby, how many rows and how many were found and the same.
  [[nodiscard]] const std::map<std::uint32_t, std::pair<std::size_t, std::size_t>>& near() const {
    return near_;
  }
  [[nodiscard]] const WriterStats& stats() const { return stats_; }

 private:
  Task<void> copy_new(pg::Connection& connection, pg::Fenced& fenced,
                      std::vector<std::uint32_t>& round);
  Task<bool> copy_type(pg::Connection& connection, pg::Fenced& fenced, std::uint32_t type,
                       const std::vector<std::uint32_t>& rows);
  [[nodiscard]] Manner manner(std::uint32_t type) const;
  [[nodiscard]] Meet meet(const Row& row) const { return manner(row.type).meet; }
  Task<void> write_round(pg::Fenced& fenced, const std::vector<std::uint32_t>& round);
  enum class Looked { all_gone, more, changed_meanwhile };
  /// A look for rows of one type that are to be marked as deleted, kMissingRowsPerLook at most.
  struct BuryLook {
    std::uint32_t type = 0;
    std::string sql;
    pg::Params params;
  };
  [[nodiscard]] std::vector<BuryLook> missing_of(std::span<const contract::CompleteSet> sets) const;
  [[nodiscard]] std::vector<BuryLook> children_of(
      const std::map<std::uint32_t, std::set<std::string, std::less<>>>& parents,
      const std::vector<ChildKind>& kinds);
  Task<Looked> bury_looked(pg::Fenced& fenced, std::vector<BuryLook> looks);
  Task<void> bury_all(pg::Fenced& fenced, const std::function<std::vector<BuryLook>()>& looks);
  Task<std::vector<ChildKind>> child_kinds(pg::Fenced& fenced,
                                           std::span<const contract::CompleteSet> sets);
  [[nodiscard]] bool may_have_children(std::uint32_t type) const;
  [[nodiscard]] std::vector<Step> plan_steps(const std::vector<Progress>& progress) const;
  void add_step(pg::Pipeline& pipeline, const Step& step, const std::vector<Progress>& progress);
  void take(const Step& step, const pg::QueryResult& result, std::vector<Progress>& progress);
  void take_near(const Step& step, const pg::QueryResult& result, std::vector<Progress>& progress);
  void take_look(const Step& step, const pg::QueryResult& result, std::vector<Progress>& progress);
  void inserted(const Row& row, std::uint32_t index, std::int64_t id);
  void updated(const Row& row, std::uint32_t index, const Found& found, std::string_view image);
  /// A document of a row that keys are in. Its texts live as long as the turn's results.
  struct Inside {
    Inside(const model::StoredType& type_, const KeyDocument& document_, std::int64_t id_)
        : type(type_), document(document_), id(id_) {}
    const model::StoredType& type;
    const KeyDocument& document;
    std::int64_t id;
    std::string_view is, was;
    bool is_plain = false;  ///< `is` is no JSON, but a text, which is all there is of itself
    bool is_new = false, was_gone = false;
  };
  void see(const Row& row, Inside& one) const;
  Task<void> look_inside();
  void keys_inside(const Inside& one);
  void rekey(const model::StoredType& type, const model::StoredAttribute& attribute,
             std::int64_t entity, const std::optional<std::string>& text);
  void buried(std::uint32_t type, std::string_view external_id, const Found& found);
  [[nodiscard]] const Wish& wish(std::uint32_t type, std::string_view external_id) const;

  const PageContext& context_;
  Batch& batch_;
  Shapes& shapes_;
  const Meets& meets_;
  Ids& ids_;
  const Learned& learned_;
  std::vector<ChildKind> new_children_;  ///< that this page's sets are the first to tell of
  std::map<std::uint32_t, std::set<std::string, std::less<>>> gone_;  ///< parents, by type
  std::vector<std::vector<std::uint32_t>> rounds_;
  std::map<std::uint32_t, CopyPage> copies_;  ///< by type, made ahead
  bool may_copy_;
  std::set<std::uint32_t> copied_;
  std::int64_t observed_;  ///< see observed_order
  Trust trust_;
  const Wishes* wishes_;
  std::vector<bool> written_;   ///< by row
  std::vector<Inside> inside_;  ///< still to be looked into
  pg::Pipeline waiting_;  ///< steps that need no answer of their own and travel with the next ones
  Tail tail_;
  std::map<std::uint32_t, std::pair<std::size_t, std::size_t>> news_, near_;
  WriterStats stats_;
  std::int64_t deleted_records_ =
      0;  ///< those among the page's records; a complete set deletes more
};

/// Why the object is read; nothing is in it when nobody asked for it.
const Wish& PageWrite::wish(std::uint32_t type, std::string_view external_id) const {
  static const Wish kNone;
  if (wishes_ == nullptr || wishes_->type != type) return kNone;
  const auto found = wishes_->by_id.find(external_id);
  return found == wishes_->by_id.end() ? kNone : found->second;
}

void PageWrite::inserted(const Row& row, std::uint32_t index, std::int64_t id) {
  const TypePlan& plan = batch_.plan(row.type);
  const model::StoredType& type = *plan.stored;
  ++tail_.counts.inserted;
  ++news_[row.type].second;
  written_[index] = true;
  std::optional<Micros> at = batch_.modified_at(row);
  if (!at) at = plausible(wish(row.type, row.external_id).noticed_at);
  if (!at) at = batch_.created_at(row);
  tail_.changes.add(type.id.value, id, "insert", row.external_id, {}, at);
  for (const std::uint16_t column : plan.key_columns) {
    const Value* value = batch_.value(row, column);
    const auto text = value == nullptr ? std::nullopt : key_text(*value);
    if (!text) continue;
    if (const auto key = key_of(type, type.attributes[column], id, *text))
      tail_.keys.back().now.push_back(*key);
  }
  for (const KeyDocument& document : plan.key_documents) {
    Inside& one = inside_.emplace_back(type, document, id);
    see(row, one);
    one.is_new = true;
  }
}

/// Looks into what rows of this turn hold. A document may be as large as a record: the loop's
/// others come first after each part of this size.
Task<void> PageWrite::look_inside() {
  const auto executor = co_await asio::this_coro::executor;
  std::size_t bytes = 0;
  for (const Inside& one : inside_) {
    const std::size_t more = one.is.size() + one.was.size();
    if (bytes > 0 && bytes + more > kInsideBytesAtOnce) {
      bytes = 0;
      co_await asio::post(executor, asio::use_awaitable);
    }
    bytes += more;
    keys_inside(one);
  }
  inside_.clear();
}

void PageWrite::keys_inside(const Inside& one) {
  std::vector<std::optional<std::string>> texts;
  if (one.is_plain) {
    texts.assign(one.document.ways.size(), std::string(one.is));
  } else {
    texts = link::texts_inside(one.is, one.document.ways);
  }
  std::vector<std::optional<std::string>> before;
  if (!one.is_new && !one.was_gone) before = link::texts_inside(one.was, one.document.ways);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const model::StoredAttribute& attribute = *one.document.attributes[i];
    if (!one.is_new) {
      if (one.was_gone || texts[i] != before[i]) rekey(one.type, attribute, one.id, texts[i]);
      continue;
    }
    const auto key = texts[i] ? key_of(one.type, attribute, one.id, *texts[i]) : std::nullopt;
    if (key) tail_.keys.back().now.push_back(*key);
  }
}

/// Takes in what the record has of the document.
void PageWrite::see(const Row& row, Inside& one) const {
  if (one.document.column < 0) {
    one.is = row.extra;
    return;
  }
  const Value* const value = batch_.value(row, static_cast<std::uint16_t>(one.document.column));
  if (value == nullptr || (value->kind != Kind::json && value->kind != Kind::string)) return;
  one.is = value->text;
  one.is_plain = value->kind == Kind::string;
}

/// The entity has this key of the attribute now, or none.
void PageWrite::rekey(const model::StoredType& type, const model::StoredAttribute& attribute,
                      std::int64_t entity, const std::optional<std::string>& text) {
  const auto key = text ? key_of(type, attribute, entity, *text) : std::nullopt;
  KeyBatch::Stale stale;
  stale.entity = entity;
  stale.attribute = attribute.position;
  stale.has_key = key.has_value();
  if (key) {
    stale.kind = key->kind;
    stale.digest = key->digest;
    tail_.keys.back().now.push_back(*key);
  }
  tail_.keys.back().stale.push_back(stale);
}

void PageWrite::updated(const Row& row, std::uint32_t index, const Found& found,
                        std::string_view image) {
  const TypePlan& plan = batch_.plan(row.type);
  const model::StoredType& type = *plan.stored;
  // The look's image may have attributes that this record does not: the new image decides.
  const std::string changed = difference(type, found.image, image);
  if (changed.empty() && !found.gone)
    return;  // only its version or the spelling of its JSON is new
  ++tail_.counts.updated;
  written_[index] = true;
  const auto before = members(found.image);
  const auto after = members(image);
  for (const std::uint16_t column : plan.key_columns) {
    const model::StoredAttribute& attribute = type.attributes[column];
    const bool present = batch_.value(row, column) != nullptr;
    if (!found.gone &&
        (!present || same_jsonb(member(before, attribute.name), member(after, attribute.name))))
      continue;
    rekey(type, attribute, found.id, link::text_inside(member(after, attribute.name)));
  }
  for (const KeyDocument& document : plan.key_documents) {
    const std::string_view was = member(before, name_of(type, document));
    const std::string_view is = member(after, name_of(type, document));
    // Empty: the look was for what the record has, and it has none of this.
    if (!found.gone && (was.empty() || was == is)) continue;
    Inside& one = inside_.emplace_back(type, document, found.id);
    one.is = is;
    one.was = was;
    one.was_gone = found.gone;
  }
  std::optional<Micros> at = batch_.modified_at(row);
  if (!at) at = plausible(wish(row.type, row.external_id).noticed_at);
  tail_.changes.add(type.id.value, found.id, found.gone ? "restore" : "update", row.external_id,
                    changed, at);
  if (const auto gone = gone_.find(row.type); found.gone && gone != gone_.end())
    gone->second.erase(std::string(row.external_id));  // by a record before it in this page
}

/// Something refers to it that a complete set may be of.
bool PageWrite::may_have_children(std::uint32_t type) const {
  const std::string& name = context_.manifest->entity_types.at(type).name;
  for (const contract::EntityType& other : context_.manifest->entity_types) {
    for (const contract::Relationship& edge : other.relationships) {
      if (edge.target == name) return true;
    }
  }
  return false;
}

void PageWrite::buried(std::uint32_t type, std::string_view external_id, const Found& found) {
  if (found.gone) return;  // only its version is newer
  ++tail_.counts.deleted;
  KeyBatch::Stale stale;
  stale.entity = found.id;
  tail_.keys.back().stale.push_back(stale);
  const Wish& why = wish(type, external_id);
  if (why.for_run.has_value()) ++tail_.found_gone[why.for_run.value];
  tail_.changes.add(batch_.plan(type).stored->id.value, found.id, "delete", external_id, {},
                    plausible(why.noticed_at));
  if (may_have_children(type)) gone_[type].emplace(external_id);
}

Action action_of(Next next) {
  switch (next) {
    case Next::insert:
      return Action::insert;
    case Next::update:
      return Action::update;
    case Next::bury:
      return Action::bury;
    default:
      return Action::look;
  }
}

std::vector<Step> PageWrite::plan_steps(const std::vector<Progress>& progress) const {
  std::vector<Step> steps;
  std::map<std::tuple<Next, std::uint32_t, std::uint32_t>, std::size_t> known;
  for (std::size_t i = 0; i < progress.size(); ++i) {
    const Next next = progress[i].next;
    if (next == Next::done) continue;
    const Row& row = batch_.rows[progress[i].row];
    // Looks and inserts take a whole type at once; an update may set only what its records have.
    const std::uint32_t presence = next == Next::update ? row.presence : 0;
    const auto [at, fresh] =
        known.try_emplace(std::make_tuple(next, row.type, presence), steps.size());
    if (fresh) {
      Step& step = steps.emplace_back();
      step.type = row.type;
      step.what = next;
      step.presence = batch_.presence(row);
    } else if (next == Next::look || next == Next::insert) {
      steps[at->second].presence.merge(batch_.presence(row));
    }
    steps[at->second].members.push_back(i);
  }
  return steps;
}

void PageWrite::add_step(pg::Pipeline& pipeline, const Step& step,
                         const std::vector<Progress>& progress) {
  std::vector<Target> targets;
  targets.reserve(step.members.size());
  for (const std::size_t i : step.members) {
    Target target;
    target.row = &batch_.rows[progress[i].row];
    target.found = &progress[i].found;
    targets.push_back(target);
  }
  const TypePlan& plan = batch_.plan(step.type);
  if (step.what == Next::near) {
    pg::Params params = near_params(context_.workspace, context_.connection, targets);
    shapes_.add(pipeline, near_sql(plan), std::move(params));
    return;
  }
  const Action action = action_of(step.what);
  pg::Params params = action_params(action, context_.workspace, context_.connection, batch_, plan,
                                    step.presence, observed_, targets);
  shapes_.add(pipeline, action_sql(action, plan, step.presence, trust_), std::move(params));
}

void PageWrite::take_near(const Step& step, const pg::QueryResult& result,
                          std::vector<Progress>& progress) {
  for (const std::size_t i : step.members) progress[i].next = Next::look;
  const auto id_of = [&](std::size_t member) {
    return batch_.rows[progress[step.members[member]].row].external_id;
  };
  std::size_t at = 0;
  std::size_t found = 0;
  for (int r = 0; r < result.rows(); ++r) {
    const std::string_view external_id = result.text(r, 0);
    // Rows lie in the order of their external ids as far as one page stored them.
    if (at == step.members.size() || id_of(at) != external_id) {
      const auto members = std::views::iota(std::size_t{0}, step.members.size());
      at = static_cast<std::size_t>(std::ranges::lower_bound(members, external_id, {}, id_of) -
                                    members.begin());
      if (at == step.members.size() || id_of(at) != external_id) continue;
    }
    Progress& one = progress[step.members[at++]];
    if (!near_is_same(result, r, batch_.rows[one.row])) continue;
    one.next = Next::done;
    ++found;
  }
  stats_.found_near += static_cast<std::int64_t>(found);
  near_[step.type].first += step.members.size();
  near_[step.type].second += found;
}

void PageWrite::take_look(const Step& step, const pg::QueryResult& result,
                          std::vector<Progress>& progress) {
  stats_.looked_up += static_cast<std::int64_t>(step.members.size());
  for (const std::size_t i : step.members)
    progress[i].next = Next::done;  // what is not returned is unchanged
  for (int r = 0; r < result.rows(); ++r) {
    const auto ordinal = static_cast<std::size_t>(result.get<std::int64_t>(r, 0));
    Progress& one = progress[step.members.at(ordinal - 1)];
    const Row& row = batch_.rows[one.row];
    if (result.is_null(r, 1)) {
      if (row.deleted) continue;  // never seen: nothing to delete
      if (row.insertable) {
        one.next = Next::insert;
        continue;
      }
      batch_.refuse(
          one.row, "record.required_missing",
          fmt::format("the record is new and lacks required {}", batch_.missing_required(row)));
      continue;
    }
    if (result.get<bool>(r, 5)) {
      ++tail_.counts.older;
      continue;
    }
    one.found.id = result.get<std::int64_t>(r, 1);
    one.found.sync_version = result.get<std::int64_t>(r, 2);
    one.found.gone = result.get<bool>(r, 3);
    if (!result.is_null(r, 4)) one.found.image = result.text(r, 4);
    one.next = row.deleted ? Next::bury : Next::update;
  }
}

void PageWrite::take(const Step& step, const pg::QueryResult& result,
                     std::vector<Progress>& progress) {
  if (step.what == Next::near) return take_near(step, result, progress);
  if (step.what == Next::look) return take_look(step, result, progress);
  // The server answers in the order of the input, with gaps where it left a row alone.
  std::size_t at = 0;
  for (const std::size_t i : step.members) progress[i].next = Next::look;
  for (int r = 0; r < result.rows(); ++r) {
    const std::string_view external_id = result.text(r, 0);
    while (at < step.members.size() &&
           batch_.rows[progress[step.members[at]].row].external_id != external_id) {
      ++at;
    }
    SLUICE_INVARIANT(at < step.members.size());
    Progress& one = progress[step.members[at]];
    const Row& row = batch_.rows[one.row];
    one.next = Next::done;
    if (step.what == Next::insert) {
      inserted(row, one.row, result.get<std::int64_t>(r, 1));
    } else if (step.what == Next::update) {
      updated(row, one.row, one.found, result.text(r, 2));
    } else {
      if (!one.found.gone) ++deleted_records_;
      buried(row.type, row.external_id, one.found);
    }
  }
}

Manner PageWrite::manner(std::uint32_t type) const {
  const auto found = meets_.find(key_of_type(context_, batch_.plan(type)));
  return found == meets_.end() ? Manner() : found->second;
}

/// Copies what can be copied and takes it out of the round.
Task<void> PageWrite::copy_new(pg::Connection& connection, pg::Fenced& fenced,
                               std::vector<std::uint32_t>& round) {
  const auto is_copied = [this](std::uint32_t type) { return manner(type).meet == Meet::copy; };
  const RowsByType by_type = copyable(batch_, round, is_copied);
  std::vector<bool> done(batch_.rows.size());
  for (const auto& [type, rows] : by_type) {
    const bool copied = co_await copy_type(connection, fenced, type, rows);
    for (const std::uint32_t index : rows) done[index] = copied;
  }
  std::erase_if(round, [&done](std::uint32_t index) { return done[index]; });
}

/// False when the rows have no binary form; nothing is done then.
Task<bool> PageWrite::copy_type(pg::Connection& connection, pg::Fenced& fenced, std::uint32_t type,
                                const std::vector<std::uint32_t>& rows) {
  const TypePlan& plan = batch_.plan(type);
  std::optional<CopyPage> page;
  const auto ready = copies_.find(type);
  if (ready != copies_.end()) {
    page = std::move(ready->second);
    SLUICE_INVARIANT(page->rows() == rows);
  } else {
    page = CopyPage::make(context_.workspace, context_.connection, batch_, plan, rows);
  }
  if (!page) co_return false;
  const std::vector<std::int64_t> ids = co_await ids_.take(connection, rows.size());
  page->complete(ids, observed_);
  copied_.insert(type);
  const std::string sql = copy_sql(plan, page->presence());
  const std::unique_ptr<pg::CopyIn> copy = co_await fenced.copy_in(sql);
  co_await copy->rows(page->wire());
  // While the server works; should it refuse a row, this whole object goes.
  tail_.keys.emplace_back();
  news_[type].first += rows.size();
  for (std::size_t i = 0; i < rows.size(); ++i) inserted(batch_.rows[rows[i]], rows[i], ids[i]);
  co_await look_inside();
  add_keys_so_far(waiting_, context_, tail_);
  co_await copy->finish();
  co_return true;
}

Task<void> PageWrite::write_round(pg::Fenced& fenced, const std::vector<std::uint32_t>& round) {
  std::vector<Progress> progress;
  progress.reserve(round.size());
  std::map<std::uint32_t, std::size_t> looks;
  for (const std::uint32_t index : round) {
    const Row& row = batch_.rows[index];
    Progress one;
    one.row = index;
    const bool load = row.insertable && !row.deleted && meet(row) != Meet::look;
    one.next = load ? Next::insert : Next::look;
    progress.push_back(std::move(one));
    ++news_[row.type].first;
    if (!load) ++looks[row.type];
  }
  for (const auto& [type, rows] : looks) {
    if (rows < kNearRowsMin || manner(type).far_pages > 0) continue;
    for (Progress& one : progress) {
      if (batch_.rows[one.row].type == type && one.next == Next::look) one.next = Next::near;
    }
  }
  tail_.keys.emplace_back();
  for (int turn = 0;; ++turn) {
    const std::vector<Step> steps = plan_steps(progress);
    if (steps.empty()) co_return;
    if (turn == kRoundsMax) {
      throw Failure(Error(
          ErrorKind::retry_later, "ingest.contended",
          "rows of a page keep being changed by somebody else while it is written",
          "the page is written again by the next run; is another host at work without the lease?"));
    }
    pg::Pipeline pipeline = std::move(waiting_);
    waiting_ = pg::Pipeline();
    const std::size_t before = pipeline.size();
    for (const Step& step : steps) add_step(pipeline, step, progress);
    const std::vector<pg::QueryResult> results = co_await fenced.run(std::move(pipeline));
    for (std::size_t i = 0; i < steps.size(); ++i) take(steps[i], results.at(before + i), progress);
    co_await look_inside();
  }
}

Task<void> PageWrite::sets(pg::Fenced& fenced, std::span<const contract::CompleteSet> sets) {
  if (sets.empty()) co_return;
  for (const contract::CompleteSet& set : sets) {
    const auto kind = child_kind(*context_.manifest, set.type, set.attribute);
    if (!kind) continue;
    const std::tuple known(context_.workspace.value, context_.manifest->id, *kind);
    if (!learned_.contains(known) && std::ranges::find(new_children_, *kind) == new_children_.end())
      new_children_.push_back(*kind);
  }
  const std::function<std::vector<BuryLook>()> looks = [this, sets] { return missing_of(sets); };
  co_await bury_all(fenced, looks);
}

Task<void> PageWrite::bury_all(pg::Fenced& fenced,
                               const std::function<std::vector<BuryLook>()>& looks) {
  tail_.keys.emplace_back();
  for (int turn = 0;;) {
    const Looked looked = co_await bury_looked(fenced, looks());
    if (looked == Looked::all_gone) co_return;
    if (looked == Looked::changed_meanwhile && ++turn > kRoundsMax) {
      throw Failure(Error(
          ErrorKind::retry_later, "ingest.contended",
          "children keep being changed by somebody else while they are marked as deleted",
          "the page is written again by the next run; is another host at work without the lease?"));
    }
  }
}

/// What the sets lack, unless it is newer than they are.
std::vector<PageWrite::BuryLook> PageWrite::missing_of(
    std::span<const contract::CompleteSet> sets) const {
  std::vector<BuryLook> looks;
  for (const contract::CompleteSet& set : sets) {
    const TypePlan& plan = batch_.plan(set.type);
    const auto& attribute =
        plan.stored->attributes[static_cast<std::size_t>(plan.column_of.at(set.attribute))];
    BuryLook& look = looks.emplace_back();
    look.type = set.type;
    look.sql = unlisted_children_sql(plan, attribute);
    pg::Array ids(pg::Oid::text);
    for (const std::string_view id : set.ids) ids.add(id);
    look.params =
        pg::Params(context_.workspace, context_.connection, observed_, set.equals, std::move(ids));
  }
  return looks;
}

/// Marks what the looks find; at most kMissingRowsPerLook of each. A row that changed between the
/// look and the write, by the connection's other lane, is to be looked at again.
Task<PageWrite::Looked> PageWrite::bury_looked(pg::Fenced& fenced, std::vector<BuryLook> looks) {
  if (looks.empty()) co_return Looked::all_gone;
  pg::Pipeline look = std::move(waiting_);
  waiting_ = pg::Pipeline();
  const std::size_t before = look.size();
  for (BuryLook& each : looks) shapes_.add(look, each.sql, std::move(each.params));
  const std::vector<pg::QueryResult> gone = co_await fenced.run(std::move(look));
  std::map<std::pair<std::uint32_t, std::string>, Found> lost;  // two sets may miss the same entity
  bool more = false;
  for (std::size_t s = 0; s < looks.size(); ++s) {
    const pg::QueryResult& result = gone.at(before + s);
    more = more || result.rows() == kMissingRowsPerLook;
    for (int r = 0; r < result.rows(); ++r) {
      Found found;
      found.id = result.get<std::int64_t>(r, 1);
      found.sync_version = result.get<std::int64_t>(r, 2);
      lost.emplace(std::make_pair(looks[s].type, result.get<std::string>(r, 0)), std::move(found));
    }
  }
  if (lost.empty()) co_return Looked::all_gone;
  std::map<std::uint32_t, std::vector<Target>> targets;
  std::vector<Row> rows;
  rows.reserve(lost.size());
  for (const auto& [key, found] : lost) {
    Row& row = rows.emplace_back();
    row.type = key.first;
    row.external_id = key.second;
    row.deleted = true;
    row.hash = deleted_hash();
    Target target;
    target.row = &row;
    target.found = &found;
    targets[key.first].push_back(target);
  }
  pg::Pipeline bury;
  const Presence nothing;
  std::size_t asked = 0;
  for (const auto& [type, list] : targets) {
    const TypePlan& plan = batch_.plan(type);
    pg::Params params = action_params(Action::bury, context_.workspace, context_.connection, batch_,
                                      plan, nothing, observed_, list);
    shapes_.add(bury, action_sql(Action::bury, plan, nothing), std::move(params));
    asked += list.size();
  }
  const std::vector<pg::QueryResult> buried_rows = co_await fenced.run(std::move(bury));
  std::size_t answered = 0;
  auto type = targets.begin();
  for (const pg::QueryResult& result : buried_rows) {
    for (int r = 0; r < result.rows(); ++r) {
      const auto found = lost.find(std::make_pair(type->first, result.get<std::string>(r, 0)));
      SLUICE_INVARIANT(found != lost.end());
      buried(type->first, found->first.second, found->second);
      ++answered;
    }
    ++type;
  }
  if (answered != asked) co_return Looked::changed_meanwhile;
  if (!more) co_return Looked::all_gone;
  add_rows_so_far(waiting_, context_, tail_);
  tail_.keys.emplace_back();
  co_return Looked::more;
}

std::vector<PageWrite::BuryLook> PageWrite::children_of(
    const std::map<std::uint32_t, std::set<std::string, std::less<>>>& parents,
    const std::vector<ChildKind>& kinds) {
  std::vector<BuryLook> looks;
  for (const ChildKind& kind : kinds) {
    const auto of = parents.find(kind.parent);
    if (of == parents.end() || of->second.empty()) continue;
    const TypePlan& plan = batch_.planned(kind.type);
    const auto& attribute =
        plan.stored->attributes[static_cast<std::size_t>(plan.column_of.at(kind.attribute))];
    pg::Array ids(pg::Oid::text);
    for (const std::string& id : of->second) ids.add(std::string_view(id));
    BuryLook& look = looks.emplace_back();
    look.type = kind.type;
    look.sql = children_sql(plan, attribute);
    look.params = pg::Params(context_.workspace, context_.connection, observed_, std::move(ids));
  }
  return looks;
}

Task<std::vector<ChildKind>> PageWrite::child_kinds(pg::Fenced& fenced,
                                                    std::span<const contract::CompleteSet> sets) {
  const contract::Manifest& manifest = *context_.manifest;
  std::set<ChildKind> kinds;
  for (const contract::CompleteSet& set : sets) {
    if (const auto kind = child_kind(manifest, set.type, set.attribute)) kinds.insert(*kind);
  }
  pg::Pipeline ask = std::move(waiting_);
  waiting_ = pg::Pipeline();
  pg::Params params(context_.workspace, manifest.id);
  ask.add(kChildren, std::move(params));
  const std::vector<pg::QueryResult> answers = co_await fenced.run(std::move(ask));
  const pg::QueryResult& known = answers.back();
  for (int row = 0; row < known.rows(); ++row) {
    const auto type = manifest.type_index(known.text(row, 0));
    if (!type) continue;
    const auto attribute = manifest.entity_types.at(*type).attribute_index(known.text(row, 1));
    if (!attribute) continue;
    if (const auto kind = child_kind(manifest, *type, *attribute)) kinds.insert(*kind);
  }
  co_return std::vector<ChildKind>(kinds.begin(), kinds.end());
}

Task<void> PageWrite::children(pg::Fenced& fenced, std::span<const contract::CompleteSet> sets) {
  std::erase_if(gone_, [](const auto& each) { return each.second.empty(); });
  if (gone_.empty()) co_return;
  const std::vector<ChildKind> kinds = co_await child_kinds(fenced, sets);
  while (!gone_.empty()) {  // what is deleted here may be a parent too; nothing is deleted twice
    const auto parents = std::exchange(gone_, {});
    const std::function<std::vector<BuryLook>()> looks = [this, &parents, &kinds] {
      return children_of(parents, kinds);
    };
    co_await bury_all(fenced, looks);
  }
}

bool is_refused_value(const pg::QueryError& error) {
  return error.sqlstate().starts_with("22") || error.sqlstate().starts_with("54");
}

/// A row is there already (23505), or this role may not COPY into the table (42501, 0A000 under
/// row-level security): its rows are inserted from now on.
bool is_copy_no_more(const pg::QueryError& error) {
  const std::string_view state = error.sqlstate();
  return state == "23505" || state == "42501" || state == "0A000";
}

/// Finds the records that PostgreSQL refuses, by halves, in a transaction that is rolled back. The
/// trial is for a connection that nobody has: a row that is there already would keep its insert
/// from being tried.
Task<std::vector<std::pair<std::uint32_t, std::string>>> find_refused(pg::Fenced& trial,
                                                                      const PageContext& context,
                                                                      const Batch& batch) {
  constexpr ConnectionId kNobody(0);
  std::vector<std::pair<std::uint32_t, std::string>> refused;
  std::vector<std::vector<std::uint32_t>> lists;  // of one type each, no external id twice
  for (const auto& round : batch.rounds()) {
    std::map<std::uint32_t, std::vector<std::uint32_t>> by_type;
    for (const std::uint32_t index : round) {
      if (!batch.rows[index].deleted) by_type[batch.rows[index].type].push_back(index);
    }
    for (auto& [type, list] : by_type) lists.push_back(std::move(list));
  }
  for (const std::vector<std::uint32_t>& list : lists) {
    const TypePlan& plan = batch.plan(batch.rows[list.front()].type);
    std::vector<std::span<const std::uint32_t>> open;
    open.emplace_back(list);
    while (!open.empty()) {
      const std::span<const std::uint32_t> part = open.back();
      open.pop_back();
      Presence presence;
      std::vector<Target> targets;
      for (const std::uint32_t index : part) {
        presence.merge(batch.presence(batch.rows[index]));
        Target target;
        target.row = &batch.rows[index];
        targets.push_back(target);
      }
      const std::string sql = action_sql(Action::insert, plan, presence);
      pg::Params params = action_params(Action::insert, context.workspace, kNobody, batch, plan,
                                        presence, 0, targets);
      std::optional<std::string> reason;
      co_await trial.query("savepoint part");
      try {
        co_await trial.query(sql, std::move(params));
      } catch (const pg::QueryError& error) {
        if (!is_refused_value(error)) throw;
        reason = error.error().message;
      }
      co_await trial.query("rollback to savepoint part");
      if (!reason) continue;
      if (part.size() == 1) {
        refused.emplace_back(part.front(), *reason);
      } else {
        open.push_back(part.first(part.size() / 2));
        open.push_back(part.subspan(part.size() / 2));
      }
    }
  }
  co_await trial.rollback();
  co_return refused;
}

}  // namespace

void CheckedPage::make_copies(const PageCheck& check) {
  if (check.copied.empty() || rounds.empty()) return;
  const auto is_copied = [&](std::uint32_t type) {
    return std::ranges::find(check.copied, batch.plan(type).stored->id) != check.copied.end();
  };
  for (auto& [type, rows] : copyable(batch, rounds.front(), is_copied)) {
    std::optional<CopyPage> page =
        CopyPage::make(check.workspace, check.connection, batch, batch.plan(type), rows);
    if (page) copies.emplace(type, std::move(*page));
  }
}

struct Writer::State {
  explicit State(pg::Pool& pool_used) : pool(pool_used) {}
  pg::Pool& pool;
  Shapes shapes;
  Meets meets;
  Ids ids;
  Learned learned;
  WriterStats stats;

  Task<void> meet_types(pg::Connection& connection, const PageContext& context, const Batch& batch);
  void stop_copying(const PageContext& context, const Batch& batch,
                    const std::set<std::uint32_t>& types);
  void learn(const PageContext& context, const Batch& batch, const PageWrite& work);
};

/// Decides how the page's types are met that have not been met before.
Task<void> Writer::State::meet_types(pg::Connection& connection, const PageContext& context,
                                     const Batch& batch) {
  std::set<std::uint32_t> unknown;
  for (const Row& row : batch.rows) {
    if (unknown.contains(row.type)) continue;
    if (!meets.contains(key_of_type(context, batch.plan(row.type)))) unknown.insert(row.type);
  }
  if (unknown.empty()) co_return;
  pg::Pipeline looks;
  for (const std::uint32_t type : unknown) {
    pg::Params params(context.workspace, context.connection);
    shapes.add(looks, any_row_sql(batch.plan(type)), std::move(params));
  }
  const std::vector<pg::QueryResult> answers = co_await connection.run(std::move(looks));
  std::size_t at = 0;
  for (const std::uint32_t type : unknown) {
    const bool has_rows = answers.at(at++).get<bool>(0, 0);
    Manner manner;
    manner.meet = has_rows ? Meet::look : Meet::copy;
    meets.try_emplace(key_of_type(context, batch.plan(type)), manner);
  }
}

void Writer::State::stop_copying(const PageContext& context, const Batch& batch,
                                 const std::set<std::uint32_t>& types) {
  for (const std::uint32_t type : types)
    meets[key_of_type(context, batch.plan(type))].meet = Meet::insert;
}

void Writer::State::learn(const PageContext& context, const Batch& batch, const PageWrite& work) {
  for (const ChildKind& kind : work.new_children())
    learned.emplace(context.workspace.value, context.manifest->id, kind);
  for (const auto& [type, news] : work.news()) {
    Manner& manner = meets[key_of_type(context, batch.plan(type))];
    const bool all_new = news.second == news.first;
    if (manner.far_pages > 0) --manner.far_pages;
    if (manner.meet == Meet::copy && all_new) continue;
    manner.meet = news.second * 2 >= news.first ? Meet::insert : Meet::look;
  }
  stats.found_near += work.stats().found_near;
  stats.looked_up += work.stats().looked_up;
  for (const auto& [type, near] : work.near()) {
    if (near.second * 2 < near.first)
      meets[key_of_type(context, batch.plan(type))].far_pages = kFarPages;
  }
}

const WriterStats& Writer::stats() const { return state_->stats; }

PageCheck Writer::check(const PageContext& context) const {
  PageCheck check;
  check.manifest = context.manifest;
  check.catalog = context.catalog;
  check.workspace = context.workspace;
  check.connection = context.connection;
  TypeKey from;
  from.connection = context.connection;
  for (auto at = state_->meets.lower_bound(from);
       at != state_->meets.end() && at->first.connection == context.connection; ++at) {
    if (at->second.meet == Meet::copy) check.copied.push_back(at->first.type);
  }
  return check;
}

Writer::Writer(pg::Pool& pool) : state_(std::make_unique<State>(pool)) {}
Writer::~Writer() = default;

Task<PageCounts> Writer::write(const PageContext& context, const contract::Page& page,
                               PageEffects effects) {
  std::shared_ptr<CheckedPage> checked = std::move(effects.checked);
  if (checked == nullptr || !checked->serves(context))
    checked = std::make_shared<CheckedPage>(*context.manifest, context.catalog, page);
  checked->used = true;
  Batch& batch = checked->batch;
  bool may_copy = true;
  for (bool searched = false;;) {
    std::exception_ptr refused_value;
    {
      pg::Pool::Lease connection = co_await state_->pool.acquire();
      co_await state_->meet_types(*connection, context, batch);
      // Of the second try on, some rows are out.
      const bool first = may_copy && !searched;
      PageWrite work(context, batch, state_->shapes, state_->meets, state_->ids, state_->learned,
                     first ? checked->rounds : batch.rounds(),
                     first ? std::move(checked->copies) : std::map<std::uint32_t, CopyPage>(),
                     may_copy, observed_order(context.epoch, effects.observed_version),
                     effects.trust_vendor ? Trust::vendor : Trust::version, effects.wishes);
      pg::Fenced fenced(*connection, proof_of(context));
      bool without_copy = false;
      try {
        co_await work.rows(*connection, fenced);
        co_await work.sets(fenced, page.sets);
        co_await work.children(fenced, page.sets);
      } catch (const pg::QueryError& error) {
        const bool value = is_refused_value(error);
        without_copy = !work.copied().empty() && (value || is_copy_no_more(error));
        if (!without_copy && (searched || !value)) throw;
        if (without_copy && !value) state_->stop_copying(context, batch, work.copied());
        if (!without_copy) refused_value = std::current_exception();
      }
      if (without_copy) {  // the pool rolls back what was begun
        may_copy = false;
        continue;
      }
      if (!refused_value) {
        SLUICE_FAILPOINT("ingest.after_upsert");
        try {
          Task<void> telling = work.finish(fenced, page, effects);
          co_await journal::or_feed_busy(*connection, context.workspace, std::move(telling));
        } catch (const pg::QueryError& error) {
          if (error.sqlstate() == model::kCatalogChangedState)
            throw model::catalog_changed(*context.catalog);
          throw;
        }
        SLUICE_FAILPOINT("ingest.after_commit");
        state_->learn(context, batch, work);
        co_return work.counts();
      }
    }
    searched = true;
    pg::Pool::Lease connection = co_await state_->pool.acquire();
    pg::Fenced trial(*connection, proof_of(context));
    const auto refused = co_await find_refused(trial, context, batch);
    if (refused.empty()) std::rethrow_exception(refused_value);
    for (const auto& [row, reason] : refused) batch.refuse(row, "value.refused", reason);
  }
}

}  // namespace sluice::ingest

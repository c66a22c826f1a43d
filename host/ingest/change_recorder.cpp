#include "ingest/change_recorder.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "base/decimal.hpp"
#include "base/json_text.hpp"
#include "ingest/difference.hpp"
#include "link/inside.hpp"
#include "link/normalise.hpp"

namespace sluice::ingest {
namespace {

using contract::Kind;
using contract::Value;

/// Of documents that are looked into for keys at paths: 40 ms, for 50 keys of 15 parts.
constexpr std::size_t kInsideBytesAtOnce = 1 << 20;

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

std::optional<Micros> plausible(std::optional<Micros> time) {
  return time ? plausible_time(*time) : std::nullopt;
}

}  // namespace

ChangeRecorder::ChangeRecorder(const PageContext& context, const Batch& batch, const Wishes* wishes,
                               Tail& tail)
    : context_(context), batch_(batch), wishes_(wishes), tail_(tail), written_(batch.rows.size()) {}

void ChangeRecorder::begin_round() { tail_.keys.emplace_back(); }

DeletedIds ChangeRecorder::take_deleted() {
  std::erase_if(deleted_, [](const auto& each) { return each.second.empty(); });
  return std::exchange(deleted_, {});
}

/// Why the object is read; nothing is in it when nobody asked for it.
const Wish& ChangeRecorder::wish(std::uint32_t type, std::string_view external_id) const {
  static const Wish kNone;
  if (wishes_ == nullptr || wishes_->type != type) return kNone;
  const auto found = wishes_->by_id.find(external_id);
  return found == wishes_->by_id.end() ? kNone : found->second;
}

void ChangeRecorder::inserted(std::uint32_t index, std::int64_t id) {
  const Row& row = batch_.rows[index];
  const TypePlan& plan = batch_.plan(row.type);
  const model::StoredType& type = *plan.stored;
  ++tail_.counts.inserted;
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
Task<void> ChangeRecorder::look_inside() {
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

void ChangeRecorder::keys_inside(const Inside& one) {
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
void ChangeRecorder::see(const Row& row, Inside& one) const {
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
void ChangeRecorder::rekey(const model::StoredType& type, const model::StoredAttribute& attribute,
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

void ChangeRecorder::updated(std::uint32_t index, const Found& found, std::string_view image) {
  const Row& row = batch_.rows[index];
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
  if (const auto gone = deleted_.find(row.type); found.gone && gone != deleted_.end())
    gone->second.erase(std::string(row.external_id));  // by a record before it in this page
}

/// Something refers to it that a complete set may be of.
bool ChangeRecorder::may_have_children(std::uint32_t type) const {
  const std::string& name = context_.manifest->entity_types.at(type).name;
  for (const contract::EntityType& other : context_.manifest->entity_types) {
    for (const contract::Relationship& edge : other.relationships) {
      if (edge.target == name) return true;
    }
  }
  return false;
}

void ChangeRecorder::deleted(std::uint32_t type, std::string_view external_id, const Found& found) {
  if (found.gone) return;  // only its version is newer
  ++tail_.counts.deleted;
  KeyBatch::Stale stale;
  stale.entity = found.id;
  tail_.keys.back().stale.push_back(stale);
  const Wish& why = wish(type, external_id);
  if (why.for_run.has_value()) ++tail_.found_gone[why.for_run.value];
  tail_.changes.add(batch_.plan(type).stored->id.value, found.id, "delete", external_id, {},
                    plausible(why.noticed_at));
  if (may_have_children(type)) deleted_[type].emplace(external_id);
}

}  // namespace sluice::ingest

// Stripe objects as records: one table of kinds, indexed by the manifest's types. The mappings
// themselves are in objects/.
#include <algorithm>
#include <array>
#include <set>

#include "objects/billing.hpp"
#include "objects/payments.hpp"
#include "stripe.hpp"

namespace stripe {
namespace {

// In the order of the manifest's entity_types.
constexpr std::array<const Kind*, 21> kKinds{
    &objects::customer::kKind,
    &objects::product::kKind,
    &objects::price::kKind,
    &objects::subscription::kKind,
    &objects::item::kKind,
    &objects::invoice::kKind,
    &objects::line::kKind,
    &objects::invoice_payment::kKind,
    &objects::charge::kKind,
    &objects::payment_intent::kKind,
    &objects::refund::kKind,
    &objects::dispute::kKind,
    &objects::payout::kKind,
    &objects::balance_transaction::kKind,
    &objects::payment_method::kKind,
    &objects::coupon::kKind,
    &objects::promotion_code::kKind,
    &objects::credit_note::kKind,
    &objects::checkout_session::kKind,
    &objects::setup_intent::kKind,
    &objects::account::kKind,
};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (kKinds[i]->type != i) return false;
  }
  return true;
}
static_assert(in_order(), "kKinds stands in the order of the manifest's entity_types");

bool needs_encoding(std::string_view id) {
  for (const char c : id) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-';
    if (!plain) return true;
  }
  return false;
}

using Member = json::Value::Member;

/// Where `name` stands in the table; nullptr when it is new. `next` is where the one before stood,
/// plus one: Stripe sends properties in the order of their names, with gaps.
const Property* known(const Properties& table, std::string_view name, std::size_t& next) {
  constexpr std::size_t kGap = 4;
  const std::size_t near = std::min(next + kGap, table.count);
  for (std::size_t i = next; i < near; ++i) {
    if (table.rows[i].key == name) {
      next = i + 1;
      return &table.rows[i];
    }
  }
  const Property* const end = table.rows + table.count;
  const Property* const found =
      std::lower_bound(table.rows, end, name,
                       [](const Property& row, std::string_view key) { return row.key < key; });
  if (found == end || found->key != name) return nullptr;
  next = static_cast<std::size_t>(found - table.rows) + 1;
  return found;
}

/// Is it, or does it hold, something whose name says that it is a secret? None is ever put out.
bool is_secret(std::string_view name, const json::Value& value) {
  if (name.find("secret") != std::string_view::npos) return true;
  for (const Member member : value.members()) {
    if (is_secret(member.name, member.value)) return true;
  }
  for (const json::Value item : value.items()) {
    if (is_secret({}, item)) return true;
  }
  return false;
}

/// What the contract takes as the name of a discovered attribute; all of Stripe's names are so.
bool is_attribute_name(std::string_view name) {
  constexpr std::size_t kNameMax = 63;
  if (name.empty() || name.size() > kNameMax || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

/// The nearest name that the contract takes, with room for a number behind it.
std::string attribute_name(std::string_view name) {
  constexpr std::size_t kRoom = 48;
  std::string made;
  for (const char c : name.substr(0, kRoom)) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    made += upper ? static_cast<char>(c - 'A' + 'a') : fits ? c : '_';
  }
  return made.empty() || (made[0] >= '0' && made[0] <= '9') ? "_" + made : made;
}

/// Puts out what is new, as it is. Of a name that comes twice the later one prevails, as in the
/// tables; what is no attribute's name becomes one, so that it does not cost the record.
void put_new(Record& record, std::vector<Member>& members) {
  std::stable_sort(members.begin(), members.end(),
                   [](const Member& a, const Member& b) { return a.name < b.name; });
  std::set<std::string, std::less<>> taken;
  std::vector<Member> misnamed;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Member& member = members[i];
    if (i + 1 < members.size() && members[i + 1].name == member.name) continue;
    if (is_secret(member.name, member.value)) continue;
    if (!is_attribute_name(member.name)) {
      misnamed.push_back(member);
      continue;
    }
    taken.emplace(member.name);
    record.named(member.name, member.value);
  }
  std::size_t number = 1;
  for (const Member& member : misnamed) {
    const std::string base = attribute_name(member.name);
    std::string name = base;
    while (!taken.insert(name).second) name = base + "_" + std::to_string(++number);
    record.named(record.scratch().keep(name), member.value);
  }
}

/// One walk over the object: what a table names becomes a value, what is left out or read
/// elsewhere is passed over, what is new is put out under its own name.
void map_properties(Record& record, const Kind& kind, const json::Value& object) {
  std::vector<Member> fresh;  // nearly always none, and then without memory
  std::size_t next = 0;
  for (const Member member : object.members()) {
    if (const Property* const property = known(kind.properties, member.name, next)) {
      if (property->field != nullptr) map_value(record, *property->field, member.value);
      continue;
    }
    if (!kind.details_by.empty() && member.name == object[kind.details_by].text()) continue;
    fresh.push_back(member);
  }
  if (!fresh.empty()) put_new(record, fresh);
}

/// What was asked for and is not there is not at the object any more; a declared attribute that is
/// not put out would stay as it is stored.
void put_absent(Record& record, const Kind& kind, const json::Value& object) {
  for (const std::string_view asked : kind.asked_for) {
    if (object[asked].exists()) continue;
    std::size_t next = 0;
    const Property* const property = known(kind.properties, asked, next);
    if (property != nullptr && property->field != nullptr)
      set_null(record, sluice::sdk::Fields{property->field, 1});
  }
}

}  // namespace

const Kind& kind_of(std::uint32_t type) {
  if (type >= kKinds.size()) {
    throw Failure(SLUICE_FAIL_INTERNAL, "no entity type has the index " + std::to_string(type));
  }
  return *kKinds[type];
}

Face face_of(const json::Value& object) {
  Face face;
  for (const json::Value::Member member : object.members()) {
    switch (member.name.size()) {
      case 2:
        if (member.name == "id") face.id = member.value.text();
        break;
      case 6:
        if (member.name == "object") face.object = member.value.text();
        break;
      case 7:
        if (member.name == "created") {
          face.created = member.value.integer();
        } else if (member.name == "deleted") {
          face.deleted = member.value.boolean() == true;
        }
        break;
      case 8:
        if (member.name == "livemode") face.livemode = member.value.boolean();
        break;
      default:
        break;
    }
  }
  return face;
}

bool is_storable_id(std::string_view id) {
  constexpr std::size_t kIdMax = 1024;
  return !id.empty() && id.size() <= kIdMax && id.find('\0') == std::string_view::npos;
}

void fill(Record& record, const Kind& kind, std::string_view id, const json::Value& object,
          const Reading& reading) {
  record.begin(kind.type, id);
  if (!reading.our_version) {
    if (kind.fields_before != nullptr) map_object(record, *kind.fields_before, object);
    if (kind.more_before != nullptr) kind.more_before(record, object);
  }
  map_properties(record, kind, object);
  // An object in an older version's shape has not all that ours has.
  if (reading.our_version) {
    record.whole();
    put_absent(record, kind, object);
  }
  if (kind.more != nullptr) kind.more(record, object);
  if (kind.page.empty()) return;
  const std::string_view shown =
      kind.shown_by.empty() ? id : sluice::sdk::reference_id(object[kind.shown_by]);
  put_page(record, kind, shown, reading.dashboard);
}

void fill_aside(Record& record, const Kind& kind, const Face& face) {
  for (std::size_t i = 0; i < kind.properties.count; ++i) {
    const Property& property = kind.properties.rows[i];
    if (property.key != "livemode" || property.field == nullptr) continue;
    record.begin(kind.type, face.id);
    record.text(property.field->attribute, face.livemode == true ? "live" : "test");
    return;
  }
  record.begin(kind.type, {});
}

void put_page(Record& record, const Kind& kind, std::string_view shown,
              std::string_view dashboard) {
  if (shown.empty()) return;
  if (needs_encoding(shown)) {
    record.source_url(
        record.scratch().join(dashboard, kind.page, sluice::sdk::percent_encoded(shown)));
  } else {
    record.source_url(record.scratch().join(dashboard, kind.page, shown));
  }
}

}  // namespace stripe

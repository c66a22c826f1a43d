// Stripe objects as records: one table of kinds, indexed by the manifest's types. The mappings
// themselves are in objects/.
#include <array>

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
  map_object(record, *kind.fields, object);
  if (kind.more != nullptr) kind.more(record, object);
  if (kind.page.empty()) return;
  const std::string_view shown =
      kind.shown_by.empty() ? id : sluice::sdk::reference_id(object[kind.shown_by]);
  put_page(record, kind, shown, reading.dashboard);
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

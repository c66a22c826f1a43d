// Stripe objects as records. Each table row: the vendor's field, how it is read, the attribute it
// becomes. Stripe's shapes are those of kApiVersion; fields that moved there from elsewhere are
// read from both places.
#include "stripe.hpp"

namespace stripe {
namespace {

using sluice::sdk::As;

namespace customer {
namespace a = manifest::customer;
SLUICE_FIELDS(kAddress, {"city", As::text, a::address_city},
              {"country", As::text, a::address_country}, {"line1", As::text, a::address_line1},
              {"line2", As::text, a::address_line2},
              {"postal_code", As::text, a::address_postal_code},
              {"state", As::text, a::address_state});
SLUICE_FIELDS(kInvoiceSettings,
              {"default_payment_method", As::reference, a::default_payment_method},
              {"footer", As::text, a::invoice_footer});
SLUICE_FIELDS(kFields, {"address", kAddress}, {"balance", As::integer, a::balance},
              {"business_name", As::text, a::business_name},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"customer_account", As::reference, a::customer_account},
              {"default_source", As::reference, a::default_source},
              {"delinquent", As::boolean, a::delinquent}, {"description", As::text, a::description},
              {"discount", As::json, a::discount}, {"email", As::text, a::email},
              {"individual_name", As::text, a::individual_name},
              {"invoice_prefix", As::text, a::invoice_prefix},
              {"invoice_settings", kInvoiceSettings}, {"livemode", As::boolean, a::livemode},
              {"metadata", As::json, a::metadata}, {"name", As::text, a::name},
              {"next_invoice_sequence", As::integer, a::next_invoice_sequence},
              {"phone", As::text, a::phone}, {"preferred_locales", As::json, a::preferred_locales},
              {"shipping", As::json, a::shipping}, {"tax_exempt", As::text, a::tax_exempt},
              {"test_clock", As::reference, a::test_clock});
}  // namespace customer

namespace product {
namespace a = manifest::product;
SLUICE_FIELDS(kFields, {"active", As::boolean, a::active},
              {"created", As::unix_seconds, a::created},
              {"default_price", As::reference, a::default_price},
              {"description", As::text, a::description}, {"images", As::json, a::images},
              {"livemode", As::boolean, a::livemode},
              {"marketing_features", As::json, a::marketing_features},
              {"metadata", As::json, a::metadata}, {"name", As::text, a::name},
              {"package_dimensions", As::json, a::package_dimensions},
              {"shippable", As::boolean, a::shippable},
              {"statement_descriptor", As::text, a::statement_descriptor},
              {"tax_code", As::reference, a::tax_code}, {"type", As::text, a::type},
              {"unit_label", As::text, a::unit_label}, {"updated", As::unix_seconds, a::updated},
              {"url", As::text, a::url});
}  // namespace product

namespace price {
namespace a = manifest::price;
SLUICE_FIELDS(kRecurring, {"interval", As::text, a::recurring_interval},
              {"interval_count", As::integer, a::recurring_interval_count},
              {"meter", As::reference, a::recurring_meter},
              {"trial_period_days", As::integer, a::recurring_trial_period_days},
              {"usage_type", As::text, a::recurring_usage_type});
SLUICE_FIELDS(kFields, {"active", As::boolean, a::active},
              {"billing_scheme", As::text, a::billing_scheme},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"custom_unit_amount", As::json, a::custom_unit_amount},
              {"livemode", As::boolean, a::livemode}, {"lookup_key", As::text, a::lookup_key},
              {"metadata", As::json, a::metadata}, {"nickname", As::text, a::nickname},
              {"product", As::reference, a::product}, {"recurring", kRecurring},
              {"tax_behavior", As::text, a::tax_behavior}, {"tiers_mode", As::text, a::tiers_mode},
              {"transform_quantity", As::json, a::transform_quantity}, {"type", As::text, a::type},
              {"unit_amount", As::integer, a::unit_amount},
              {"unit_amount_decimal", As::decimal, a::unit_amount_decimal});
}  // namespace price

namespace subscription {
namespace a = manifest::subscription;
SLUICE_FIELDS(kCancellation, {"comment", As::text, a::cancellation_comment},
              {"feedback", As::text, a::cancellation_feedback},
              {"reason", As::text, a::cancellation_reason});
SLUICE_FIELDS(kPause, {"behavior", As::text, a::pause_behavior},
              {"resumes_at", As::unix_seconds, a::pause_resumes_at});
SLUICE_FIELDS(
    kFields, {"application_fee_percent", As::number, a::application_fee_percent},
    {"billing_cycle_anchor", As::unix_seconds, a::billing_cycle_anchor},
    {"cancel_at", As::unix_seconds, a::cancel_at},
    {"cancel_at_period_end", As::boolean, a::cancel_at_period_end},
    {"canceled_at", As::unix_seconds, a::canceled_at}, {"cancellation_details", kCancellation},
    {"collection_method", As::text, a::collection_method},
    {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
    {"current_period_end", As::unix_seconds, a::current_period_end},  // before basil
    {"current_period_start", As::unix_seconds, a::current_period_start},
    {"customer", As::reference, a::customer},
    {"customer_account", As::reference, a::customer_account},
    {"days_until_due", As::integer, a::days_until_due},
    {"default_payment_method", As::reference, a::default_payment_method},
    {"default_source", As::reference, a::default_source}, {"description", As::text, a::description},
    {"discounts", As::json, a::discounts}, {"ended_at", As::unix_seconds, a::ended_at},
    {"latest_invoice", As::reference, a::latest_invoice}, {"livemode", As::boolean, a::livemode},
    {"metadata", As::json, a::metadata}, {"on_behalf_of", As::reference, a::on_behalf_of},
    {"pause_collection", kPause}, {"pending_setup_intent", As::reference, a::pending_setup_intent},
    {"schedule", As::reference, a::schedule}, {"start_date", As::unix_seconds, a::start_date},
    {"status", As::text, a::status}, {"test_clock", As::reference, a::test_clock},
    {"trial_end", As::unix_seconds, a::trial_end},
    {"trial_start", As::unix_seconds, a::trial_start});
}  // namespace subscription

namespace item {
namespace a = manifest::subscription_item;
SLUICE_FIELDS(kPrice, {"id", As::text, a::price}, {"product", As::reference, a::product});
SLUICE_FIELDS(kFields, {"created", As::unix_seconds, a::created},
              {"current_period_end", As::unix_seconds, a::current_period_end},
              {"current_period_start", As::unix_seconds, a::current_period_start},
              {"discounts", As::json, a::discounts}, {"metadata", As::json, a::metadata},
              {"price", kPrice}, {"quantity", As::integer, a::quantity},
              {"subscription", As::reference, a::subscription},
              {"tax_rates", As::json, a::tax_rates});
}  // namespace item

namespace invoice {
namespace a = manifest::invoice;
SLUICE_FIELDS(kTransitions, {"finalized_at", As::unix_seconds, a::finalized_at},
              {"marked_uncollectible_at", As::unix_seconds, a::marked_uncollectible_at},
              {"paid_at", As::unix_seconds, a::paid_at},
              {"voided_at", As::unix_seconds, a::voided_at});
SLUICE_FIELDS(kSubscriptionDetails, {"subscription", As::reference, a::subscription});
SLUICE_FIELDS(kQuoteDetails, {"quote", As::reference, a::quote});
SLUICE_FIELDS(kParent, {"quote_details", kQuoteDetails},
              {"subscription_details", kSubscriptionDetails}, {"type", As::text, a::parent_type});
SLUICE_FIELDS(
    kFields, {"amount_due", As::integer, a::amount_due},
    {"amount_overpaid", As::integer, a::amount_overpaid},
    {"amount_paid", As::integer, a::amount_paid},
    {"amount_remaining", As::integer, a::amount_remaining},
    {"amount_shipping", As::integer, a::amount_shipping},
    {"attempt_count", As::integer, a::attempt_count}, {"attempted", As::boolean, a::attempted},
    {"auto_advance", As::boolean, a::auto_advance}, {"billing_reason", As::text, a::billing_reason},
    {"collection_method", As::text, a::collection_method},
    {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
    {"customer", As::reference, a::customer}, {"customer_address", As::json, a::customer_address},
    {"customer_email", As::text, a::customer_email}, {"customer_name", As::text, a::customer_name},
    {"customer_phone", As::text, a::customer_phone},
    {"default_payment_method", As::reference, a::default_payment_method},
    {"description", As::text, a::description}, {"discounts", As::json, a::discounts},
    {"due_date", As::unix_seconds, a::due_date},
    {"effective_at", As::unix_seconds, a::effective_at},
    {"ending_balance", As::integer, a::ending_balance}, {"footer", As::text, a::footer},
    {"hosted_invoice_url", As::text, a::hosted_invoice_url},
    {"invoice_pdf", As::text, a::invoice_pdf}, {"livemode", As::boolean, a::livemode},
    {"metadata", As::json, a::metadata},
    {"next_payment_attempt", As::unix_seconds, a::next_payment_attempt},
    {"number", As::text, a::number}, {"parent", kParent},
    {"period_end", As::unix_seconds, a::period_end},
    {"period_start", As::unix_seconds, a::period_start},
    {"quote", As::reference, a::quote},  // before basil
    {"receipt_number", As::text, a::receipt_number},
    {"starting_balance", As::integer, a::starting_balance},
    {"statement_descriptor", As::text, a::statement_descriptor}, {"status", As::text, a::status},
    {"status_transitions", kTransitions},
    {"subscription", As::reference, a::subscription},  // before basil
    {"subtotal", As::integer, a::subtotal}, {"test_clock", As::reference, a::test_clock},
    {"total", As::integer, a::total},
    {"total_discount_amounts", As::json, a::total_discount_amounts},
    {"total_excluding_tax", As::integer, a::total_excluding_tax},
    {"total_taxes", As::json, a::total_taxes});
}  // namespace invoice

namespace line {
namespace a = manifest::invoice_line;
SLUICE_FIELDS(kPeriod, {"end", As::unix_seconds, a::period_end},
              {"start", As::unix_seconds, a::period_start});
SLUICE_FIELDS(kPriceDetails, {"price", As::reference, a::price},
              {"product", As::reference, a::product});
SLUICE_FIELDS(kPricing, {"price_details", kPriceDetails}, {"type", As::text, a::pricing_type},
              {"unit_amount_decimal", As::decimal, a::unit_amount_decimal});
SLUICE_FIELDS(kFields, {"amount", As::integer, a::amount}, {"currency", As::text, a::currency},
              {"description", As::text, a::description},
              {"discountable", As::boolean, a::discountable}, {"discounts", As::json, a::discounts},
              {"invoice", As::reference, a::invoice}, {"livemode", As::boolean, a::livemode},
              {"metadata", As::json, a::metadata}, {"period", kPeriod}, {"pricing", kPricing},
              {"quantity", As::integer, a::quantity},
              {"quantity_decimal", As::decimal, a::quantity_decimal},
              {"subscription", As::reference, a::subscription},
              {"subtotal", As::integer, a::subtotal}, {"taxes", As::json, a::taxes});
// Which of the two details a line has is said by parent.type; the other is null and must not clear
// this one.
SLUICE_FIELDS(kItemDetails, {"invoice_item", As::reference, a::invoice_item},
              {"proration", As::boolean, a::proration},
              {"subscription", As::reference, a::subscription});
SLUICE_FIELDS(kSubscriptionItemDetails, {"invoice_item", As::reference, a::invoice_item},
              {"proration", As::boolean, a::proration},
              {"subscription", As::reference, a::subscription},
              {"subscription_item", As::reference, a::subscription_item});

void fill_parent(Record& record, const json::Value& parent) {
  if (!parent.is_object()) return;
  const std::string_view type = parent["type"].text();
  record.text(a::parent_type, type);
  if (type == "subscription_item_details") {
    map_object(record, kSubscriptionItemDetails, parent["subscription_item_details"]);
  } else if (type == "invoice_item_details") {
    map_object(record, kItemDetails, parent["invoice_item_details"]);
  }
}
}  // namespace line

namespace payment {
namespace a = manifest::invoice_payment;
SLUICE_FIELDS(kPayment, {"charge", As::reference, a::charge},
              {"payment_intent", As::reference, a::payment_intent},
              {"payment_record", As::reference, a::payment_record},
              {"type", As::text, a::payment_type});
SLUICE_FIELDS(kTransitions, {"canceled_at", As::unix_seconds, a::canceled_at},
              {"paid_at", As::unix_seconds, a::paid_at});
SLUICE_FIELDS(kFields, {"amount_paid", As::integer, a::amount_paid},
              {"amount_requested", As::integer, a::amount_requested},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"invoice", As::reference, a::invoice}, {"is_default", As::boolean, a::is_default},
              {"livemode", As::boolean, a::livemode}, {"payment", kPayment},
              {"status", As::text, a::status}, {"status_transitions", kTransitions});
}  // namespace payment

/// How a type is mapped, and where its objects are shown: a page of their own, or their parent's.
struct Kind {
  const sluice::sdk::Fields* fields;
  std::string_view path;
  std::string_view page;
  std::string_view shown_by =
      {};  ///< field that holds the id of the page's object; empty: the object's own id
};

const Kind& kind_of(std::uint32_t type) {
  namespace types = manifest::types;
  static constexpr Kind kCustomer{&customer::kFields, "/v1/customers", "/customers/"};
  static constexpr Kind kProduct{&product::kFields, "/v1/products", "/products/"};
  static constexpr Kind kPrice{&price::kFields, "/v1/prices", "/prices/"};
  static constexpr Kind kSubscription{&subscription::kFields, "/v1/subscriptions",
                                      "/subscriptions/"};
  static constexpr Kind kItem{&item::kFields, "/v1/subscription_items", "/subscriptions/",
                              "subscription"};
  static constexpr Kind kInvoice{&invoice::kFields, "/v1/invoices", "/invoices/"};
  static constexpr Kind kLine{&line::kFields, "", "/invoices/", "invoice"};
  static constexpr Kind kPayment{&payment::kFields, "/v1/invoice_payments", "/invoices/",
                                 "invoice"};
  switch (type) {
    case types::customer:
      return kCustomer;
    case types::product:
      return kProduct;
    case types::price:
      return kPrice;
    case types::subscription:
      return kSubscription;
    case types::subscription_item:
      return kItem;
    case types::invoice:
      return kInvoice;
    case types::invoice_line:
      return kLine;
    case types::invoice_payment:
      return kPayment;
    default:
      throw Failure(SLUICE_FAIL_INTERNAL, "no entity type has the index " + std::to_string(type));
  }
}

}  // namespace

std::string_view path_of(std::uint32_t type) { return kind_of(type).path; }

void fill(Record& record, std::uint32_t type, const json::Value& object,
          std::string_view dashboard) {
  const Kind& kind = kind_of(type);
  const std::string_view id = object["id"].text();
  if (id.empty()) {
    throw Failure(SLUICE_FAIL_BAD_DATA, "Stripe sent an object without an id where a " +
                                            std::string(kind.page.substr(1, kind.page.size() - 2)) +
                                            " entry was expected");
  }
  record.begin(type, id);
  map_object(record, *kind.fields, object);
  if (type == manifest::types::invoice_line) line::fill_parent(record, object["parent"]);
  const std::string_view shown =
      kind.shown_by.empty() ? id : sluice::sdk::reference_id(object[kind.shown_by]);
  if (!shown.empty()) record.source_url(record.scratch().join(dashboard, kind.page, shown));
}

}  // namespace stripe

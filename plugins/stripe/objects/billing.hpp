// Who pays for what: customers, products and prices, subscriptions, invoices, discounts.
//
// Each table row: the vendor's field, how it is read, the attribute it becomes. The tables that end
// in Before hold where the same facts stood in older API versions; they are read first and only
// from answers that are not of our version, so what the present shape says prevails. A field that
// neither shape has leaves its attribute as it is. kLeftOut names what Stripe sends and is not
// kept, or is read elsewhere, and why; any other property is new and is put out under its own name.
#pragma once

#include "objects/kind.hpp"

namespace stripe::objects {

namespace types = manifest::types;

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

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// Come only when they are expanded; the cards and accounts there are payment methods.
     "cash_balance", "invoice_credit_balance", "sources", "subscriptions", "tax", "tax_ids",
     // Of API versions before ours.
     "account_balance", "cards", "default_card", "tax_info", "tax_info_verification"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::customer,
                            .object = "customer",
                            .path = "/v1/customers",
                            .properties = kProperties.view(),
                            .page = "/customers/"};
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

inline constexpr auto kLeftOut =
    std::to_array<std::string_view>({// Where it is sold, in tax terms.
                                     "tax_details",
                                     // Of API versions before ours.
                                     "attributes", "caption", "deactivate_on", "features", "skus"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::product,
                            .object = "product",
                            .path = "/v1/products",
                            .properties = kProperties.view(),
                            .page = "/products/"};
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
              {"currency_options", As::json, a::currency_options},
              {"custom_unit_amount", As::json, a::custom_unit_amount},
              {"livemode", As::boolean, a::livemode}, {"lookup_key", As::text, a::lookup_key},
              {"metadata", As::json, a::metadata}, {"nickname", As::text, a::nickname},
              {"product", As::reference, a::product}, {"recurring", kRecurring},
              {"tax_behavior", As::text, a::tax_behavior}, {"tiers", As::json, a::tiers},
              {"tiers_mode", As::text, a::tiers_mode},
              {"transform_quantity", As::json, a::transform_quantity}, {"type", As::text, a::type},
              {"unit_amount", As::integer, a::unit_amount},
              {"unit_amount_decimal", As::decimal, a::unit_amount_decimal});

inline constexpr std::array<std::string_view, 0> kLeftOut{};
inline constexpr auto kAskedFor = std::to_array<std::string_view>({"currency_options", "tiers"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::price,
                            .object = "price",
                            .path = "/v1/prices",
                            .properties = kProperties.view(),
                            .page = "/prices/",
                            .asked_for = kAskedFor};
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
SLUICE_FIELDS(kBefore, {"current_period_end", As::unix_seconds, a::current_period_end},  // basil
              {"current_period_start", As::unix_seconds, a::current_period_start});

inline void more_before(Record& record, const json::Value& object) {
  put_single_as_list(record, a::discounts, object["discount"]);  // basil
}

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// A type of its own, read as children.
     "items",
     // How the object was set up, which says nothing of what became of it.
     "automatic_tax", "billing_cycle_anchor_config", "billing_mode", "billing_schedules",
     "billing_thresholds", "default_tax_rates", "invoice_settings", "managed_payments",
     "payment_settings", "pending_invoice_item_interval", "presentment_details", "trial_settings",
     // What is to come, or why: the status and the dates that are kept follow.
     "next_pending_invoice_item_invoice", "pending_update", "status_details",
     // Whose application or account it ran through, and what that took.
     "application", "transfer_data",
     // Of API versions before ours.
     "billing", "discount", "invoice_customer_balance_settings", "plan", "quantity", "start",
     "tax_percent"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut, kBeforeRows);

inline constexpr Kind kKind{.type = types::subscription,
                            .object = "subscription",
                            .path = "/v1/subscriptions",
                            .properties = kProperties.view(),
                            .page = "/subscriptions/",
                            .fields_before = &kBefore,
                            .more_before = &more_before};
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

inline constexpr auto kLeftOut =
    std::to_array<std::string_view>({// The price once more, in its old form.
                                     "plan",
                                     // How usage is billed.
                                     "billed_until", "billing_thresholds", "current_trial"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::subscription_item,
                            .object = "subscription_item",
                            .path = "/v1/subscription_items",
                            .properties = kProperties.view(),
                            .page = "/subscriptions/",
                            .shown_by = "subscription"};
}  // namespace item

namespace invoice {
namespace a = manifest::invoice;
SLUICE_FIELDS(kTransitions, {"finalized_at", As::unix_seconds, a::finalized_at},
              {"marked_uncollectible_at", As::unix_seconds, a::marked_uncollectible_at},
              {"paid_at", As::unix_seconds, a::paid_at},
              {"voided_at", As::unix_seconds, a::voided_at});
SLUICE_FIELDS(kSubscriptionDetails, {"subscription", As::reference, a::subscription});
SLUICE_FIELDS(kQuoteDetails, {"quote", As::reference, a::quote});
SLUICE_FIELDS(kShippingCost, {"amount_subtotal", As::integer, a::shipping_subtotal},
              {"amount_tax", As::integer, a::shipping_tax},
              {"amount_total", As::integer, a::shipping_total},
              {"shipping_rate", As::reference, a::shipping_rate});
SLUICE_FIELDS(kAutomaticTax, {"enabled", As::boolean, a::automatic_tax_enabled},
              {"status", As::text, a::automatic_tax_status});
SLUICE_FIELDS(kParent, {"quote_details", kQuoteDetails},
              {"subscription_details", kSubscriptionDetails}, {"type", As::text, a::parent_type});
SLUICE_FIELDS(
    kFields, {"amount_due", As::integer, a::amount_due},
    {"amount_overpaid", As::integer, a::amount_overpaid},
    {"amount_paid", As::integer, a::amount_paid},
    {"amount_remaining", As::integer, a::amount_remaining},
    {"amount_shipping", As::integer, a::amount_shipping},
    {"attempt_count", As::integer, a::attempt_count}, {"attempted", As::boolean, a::attempted},
    {"auto_advance", As::boolean, a::auto_advance}, {"automatic_tax", kAutomaticTax},
    {"billing_reason", As::text, a::billing_reason},
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
    {"post_payment_credit_notes_amount", As::integer, a::post_payment_credit_notes_amount},
    {"pre_payment_credit_notes_amount", As::integer, a::pre_payment_credit_notes_amount},
    {"receipt_number", As::text, a::receipt_number}, {"shipping_cost", kShippingCost},
    {"starting_balance", As::integer, a::starting_balance},
    {"statement_descriptor", As::text, a::statement_descriptor}, {"status", As::text, a::status},
    {"status_transitions", kTransitions}, {"subtotal", As::integer, a::subtotal},
    {"subtotal_excluding_tax", As::integer, a::subtotal_excluding_tax},
    {"test_clock", As::reference, a::test_clock}, {"total", As::integer, a::total},
    {"total_discount_amounts", As::json, a::total_discount_amounts},
    {"total_excluding_tax", As::integer, a::total_excluding_tax},
    {"total_taxes", As::json, a::total_taxes});
SLUICE_FIELDS(kBefore, {"quote", As::reference, a::quote},  // all of them: basil
              {"subscription", As::reference, a::subscription},
              {"total_tax_amounts", As::json, a::total_taxes});

inline void more_before(Record& record, const json::Value& object) {
  put_single_as_list(record, a::discounts, object["discount"]);  // basil
}

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// Types of their own, read as children.
     "lines", "payments",
     // Secrets: who has one can pay or confirm in the customer's place.
     "confirmation_secret",
     // Copies of what the account and the customer say of themselves.
     "account_country", "account_name", "account_tax_ids", "customer_account", "customer_shipping",
     "customer_tax_exempt", "customer_tax_ids",
     // How the object was set up, which says nothing of what became of it.
     "automatically_finalizes_at", "custom_fields", "default_source", "default_tax_rates", "issuer",
     "payment_settings", "rendering", "shipping_details", "threshold_reason",
     "webhooks_delivered_at",
     // Revisions and what stopped them.
     "from_invoice", "last_finalization_error", "latest_revision", "status_details",
     // Parts of amounts that are kept.
     "amount_paid_off_stripe", "total_pretax_credit_amounts",
     // Whose application or account it ran through, and what that took.
     "application", "on_behalf_of",
     // Of API versions before ours.
     "application_fee", "application_fee_amount", "billing", "charge", "closed", "date", "discount",
     "finalized_at", "forgiven", "paid", "paid_out_of_band", "payment", "payment_intent",
     "rendering_options", "subscription_details", "subscription_proration_date", "tax",
     "tax_percent", "transfer_data"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut, kBeforeRows);

inline constexpr Kind kKind{.type = types::invoice,
                            .object = "invoice",
                            .path = "/v1/invoices",
                            .properties = kProperties.view(),
                            .page = "/invoices/",
                            .fields_before = &kBefore,
                            .more_before = &more_before};
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

inline void more(Record& record, const json::Value& object) {
  const json::Value parent = object["parent"];
  if (!parent.has_value()) return;
  if (!parent.is_object()) return map_object(record, kSubscriptionItemDetails, parent);  // odd
  const std::string_view type = parent["type"].text();
  record.text(a::parent_type, type);
  if (type == "subscription_item_details") {
    map_object(record, kSubscriptionItemDetails, parent["subscription_item_details"]);
  } else if (type == "invoice_item_details") {
    map_object(record, kItemDetails, parent["invoice_item_details"]);
  }
}

// Before basil the price stood in the line as an object, and what the line is for beside it.
SLUICE_FIELDS(kPriceBefore, {"id", As::text, a::price}, {"product", As::reference, a::product});
SLUICE_FIELDS(kBefore, {"invoice_item", As::reference, a::invoice_item}, {"price", kPriceBefore},
              {"proration", As::boolean, a::proration},
              {"subscription_item", As::reference, a::subscription_item},
              {"tax_amounts", As::json, a::taxes});

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// Read by more().
     "parent",
     // Parts of amounts that are kept.
     "discount_amounts", "pretax_credit_amounts",
     // Of API versions before ours.
     "amount_excluding_tax", "plan", "proration_details", "tax_rates", "type", "unique_id",
     "unique_line_item_id", "unit_amount_excluding_tax"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut, kBeforeRows);

inline constexpr Kind kKind{.type = types::invoice_line,
                            .object = "line_item",
                            .path = "",
                            .properties = kProperties.view(),
                            .page = "/invoices/",
                            .shown_by = "invoice",
                            .more = &more,
                            .fields_before = &kBefore};
}  // namespace line

namespace invoice_payment {
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

inline constexpr std::array<std::string_view, 0> kLeftOut{};
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::invoice_payment,
                            .object = "invoice_payment",
                            .path = "/v1/invoice_payments",
                            .properties = kProperties.view(),
                            .page = "/invoices/",
                            .shown_by = "invoice"};
}  // namespace invoice_payment

namespace coupon {
namespace a = manifest::coupon;
SLUICE_FIELDS(kAppliesTo, {"products", As::json, a::applies_to_products});
SLUICE_FIELDS(kFields, {"amount_off", As::integer, a::amount_off}, {"applies_to", kAppliesTo},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"currency_options", As::json, a::currency_options},
              {"duration", As::text, a::duration},
              {"duration_in_months", As::integer, a::duration_in_months},
              {"livemode", As::boolean, a::livemode},
              {"max_redemptions", As::integer, a::max_redemptions},
              {"metadata", As::json, a::metadata}, {"name", As::text, a::name},
              {"percent_off", As::number, a::percent_off},
              {"redeem_by", As::unix_seconds, a::redeem_by},
              {"times_redeemed", As::integer, a::times_redeemed}, {"valid", As::boolean, a::valid});

inline constexpr auto kLeftOut = std::to_array<std::string_view>({// Of API versions before ours.
                                                                  "percent_off_precise"});
inline constexpr auto kAskedFor =
    std::to_array<std::string_view>({"applies_to", "currency_options"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::coupon,
                            .object = "coupon",
                            .path = "/v1/coupons",
                            .properties = kProperties.view(),
                            .page = "/coupons/",
                            .asked_for = kAskedFor};
}  // namespace coupon

namespace promotion_code {
namespace a = manifest::promotion_code;
SLUICE_FIELDS(kPromotion, {"coupon", As::reference, a::coupon},
              {"type", As::text, a::promotion_type});
SLUICE_FIELDS(kRestrictions, {"first_time_transaction", As::boolean, a::first_time_transaction},
              {"minimum_amount", As::integer, a::minimum_amount},
              {"minimum_amount_currency", As::text, a::minimum_amount_currency});
SLUICE_FIELDS(kFields, {"active", As::boolean, a::active}, {"code", As::text, a::code},
              {"created", As::unix_seconds, a::created}, {"customer", As::reference, a::customer},
              {"customer_account", As::reference, a::customer_account},
              {"expires_at", As::unix_seconds, a::expires_at},
              {"livemode", As::boolean, a::livemode},
              {"max_redemptions", As::integer, a::max_redemptions},
              {"metadata", As::json, a::metadata}, {"promotion", kPromotion},
              {"restrictions", kRestrictions}, {"times_redeemed", As::integer, a::times_redeemed});
SLUICE_FIELDS(kBefore, {"coupon", As::reference, a::coupon});  // clover

inline constexpr std::array<std::string_view, 0> kLeftOut{};
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut, kBeforeRows);

inline constexpr Kind kKind{.type = types::promotion_code,
                            .object = "promotion_code",
                            .path = "/v1/promotion_codes",
                            .properties = kProperties.view(),
                            .page = "/promotion_codes/",
                            .fields_before = &kBefore};
}  // namespace promotion_code

namespace credit_note {
namespace a = manifest::credit_note;
SLUICE_FIELDS(kFields, {"amount", As::integer, a::amount},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"customer", As::reference, a::customer},
              {"customer_account", As::reference, a::customer_account},
              {"customer_balance_transaction", As::reference, a::customer_balance_transaction},
              {"discount_amount", As::integer, a::discount_amount},
              {"effective_at", As::unix_seconds, a::effective_at},
              {"invoice", As::reference, a::invoice}, {"livemode", As::boolean, a::livemode},
              {"memo", As::text, a::memo}, {"metadata", As::json, a::metadata},
              {"number", As::text, a::number},
              {"out_of_band_amount", As::integer, a::out_of_band_amount}, {"pdf", As::text, a::pdf},
              {"post_payment_amount", As::integer, a::post_payment_amount},
              {"pre_payment_amount", As::integer, a::pre_payment_amount},
              {"reason", As::text, a::reason}, {"refunds", As::json, a::refunds},
              {"status", As::text, a::status}, {"subtotal", As::integer, a::subtotal},
              {"total", As::integer, a::total},
              {"total_excluding_tax", As::integer, a::total_excluding_tax},
              {"total_taxes", As::json, a::total_taxes}, {"type", As::text, a::type},
              {"voided_at", As::unix_seconds, a::voided_at});
SLUICE_FIELDS(kBefore, {"tax_amounts", As::json, a::total_taxes});  // basil

/// The first of the refunds, whose list names an id or, expanded, the refund itself.
inline void more(Record& record, const json::Value& object) {
  put_first_reference(record, a::refund, object["refunds"], "refund");
}

/// Before basil there was one refund at most.
inline void more_before(Record& record, const json::Value& object) {
  const json::Value refund = object["refund"];
  const std::string_view id = sluice::sdk::reference_id(refund);
  if (!id.empty()) {
    json::Writer list;
    list.begin_array().begin_object().member("refund", id).end_object().end_array();
    record.json(a::refunds, record.scratch().keep(list.text()));
    record.text(a::refund, id);
  } else if (refund.is_null()) {
    record.null(a::refund);
  }
}

inline constexpr auto kLeftOut =
    std::to_array<std::string_view>({// Cut off after ten, and not covered.
                                     "lines",
                                     // Parts of amounts that are kept.
                                     "amount_shipping", "discount_amounts", "pretax_credit_amounts",
                                     "shipping_cost", "subtotal_excluding_tax",
                                     // Of API versions before ours.
                                     "refund"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut, kBeforeRows);

inline constexpr Kind kKind{.type = types::credit_note,
                            .object = "credit_note",
                            .path = "/v1/credit_notes",
                            .properties = kProperties.view(),
                            .page = "/credit_notes/",
                            .more = &more,
                            .fields_before = &kBefore,
                            .more_before = &more_before};
}  // namespace credit_note

}  // namespace stripe::objects

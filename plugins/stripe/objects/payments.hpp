// How money moves: payments, charges, refunds, disputes, payouts, and with what it is paid.
//
// What must never be kept: every client_secret, the evidence of disputes, and of a card all but
// what says which card it is. See billing.hpp for how the tables are read.
#pragma once

#include "objects/kind.hpp"

namespace stripe::objects {

namespace types = manifest::types;

namespace payment_intent {
namespace a = manifest::payment_intent;
SLUICE_FIELDS(kError, {"code", As::text, a::last_error_code},
              {"decline_code", As::text, a::last_error_decline_code},
              {"message", As::text, a::last_error_message}, {"type", As::text, a::last_error_type});
SLUICE_FIELDS(kFields, {"amount", As::integer, a::amount},
              {"amount_capturable", As::integer, a::amount_capturable},
              {"amount_received", As::integer, a::amount_received},
              {"canceled_at", As::unix_seconds, a::canceled_at},
              {"cancellation_reason", As::text, a::cancellation_reason},
              {"capture_method", As::text, a::capture_method},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"customer", As::reference, a::customer}, {"description", As::text, a::description},
              {"last_payment_error", kError}, {"latest_charge", As::reference, a::latest_charge},
              {"livemode", As::boolean, a::livemode}, {"metadata", As::json, a::metadata},
              {"on_behalf_of", As::reference, a::on_behalf_of},
              {"payment_method", As::reference, a::payment_method},
              {"payment_method_types", As::json, a::payment_method_types},
              {"receipt_email", As::text, a::receipt_email},
              {"setup_future_usage", As::text, a::setup_future_usage},
              {"shipping", As::json, a::shipping},
              {"statement_descriptor", As::text, a::statement_descriptor},
              {"status", As::text, a::status}, {"transfer_group", As::text, a::transfer_group});

/// Before 2022-11-15 all charges came along, the latest one first.
inline void more_before(Record& record, const json::Value& object) {
  put_first_reference(record, a::latest_charge, object["charges"]["data"], "id");
}

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// Secrets: who has one can pay or confirm in the customer's place.
     "client_secret",
     // Holds addresses that are good for one payment.
     "next_action",
     // How the object was set up, which says nothing of what became of it.
     "allowed_payment_method_types", "automatic_payment_methods", "confirmation_method",
     "excluded_payment_method_types", "hooks", "managed_payments",
     "payment_method_configuration_details", "payment_method_options", "processing",
     "statement_descriptor_suffix",
     // What was bought, down to its lines, and in which currency it was shown.
     "amount_details", "payment_details", "presentment_details",
     // Other names of who pays and what was paid.
     "customer_account", "payment_record", "review", "source",
     // Whose application or account it ran through, and what that took.
     "application", "application_fee_amount", "transfer_data",
     // Of API versions before ours.
     "allowed_source_types", "charges", "invoice", "next_source_action", "save_payment_method"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::payment_intent,
                            .object = "payment_intent",
                            .path = "/v1/payment_intents",
                            .properties = kProperties.view(),
                            .page = "/payments/",
                            .more_before = &more_before};
}  // namespace payment_intent

namespace charge {
namespace a = manifest::charge;
SLUICE_FIELDS(kBilling, {"address", As::json, a::billing_address},
              {"email", As::text, a::billing_email}, {"name", As::text, a::billing_name},
              {"phone", As::text, a::billing_phone}, {"tax_id", As::text, a::billing_tax_id});
SLUICE_FIELDS(kOutcome, {"network_status", As::text, a::outcome_network_status},
              {"reason", As::text, a::outcome_reason},
              {"risk_level", As::text, a::outcome_risk_level},
              {"seller_message", As::text, a::outcome_seller_message},
              {"type", As::text, a::outcome_type});
SLUICE_FIELDS(kCard, {"brand", As::text, a::card_brand}, {"country", As::text, a::card_country},
              {"exp_month", As::integer, a::card_exp_month},
              {"exp_year", As::integer, a::card_exp_year},
              {"fingerprint", As::text, a::card_fingerprint},
              {"funding", As::text, a::card_funding}, {"last4", As::text, a::card_last4});
SLUICE_FIELDS(kMethod, {"card", kCard}, {"type", As::text, a::payment_method_type});
SLUICE_FIELDS(kFields, {"amount", As::integer, a::amount},
              {"amount_captured", As::integer, a::amount_captured},
              {"amount_refunded", As::integer, a::amount_refunded},
              {"application_fee_amount", As::integer, a::application_fee_amount},
              {"balance_transaction", As::reference, a::balance_transaction},
              {"billing_details", kBilling}, {"captured", As::boolean, a::captured},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"customer", As::reference, a::customer}, {"description", As::text, a::description},
              {"disputed", As::boolean, a::disputed}, {"failure_code", As::text, a::failure_code},
              {"failure_message", As::text, a::failure_message},
              {"livemode", As::boolean, a::livemode}, {"metadata", As::json, a::metadata},
              {"outcome", kOutcome}, {"paid", As::boolean, a::paid},
              {"payment_intent", As::reference, a::payment_intent},
              {"payment_method", As::reference, a::payment_method},
              {"payment_method_details", kMethod}, {"receipt_email", As::text, a::receipt_email},
              {"receipt_number", As::text, a::receipt_number},
              {"receipt_url", As::text, a::receipt_url}, {"refunded", As::boolean, a::refunded},
              {"statement_descriptor", As::text, a::statement_descriptor},
              {"status", As::text, a::status}, {"transfer_group", As::text, a::transfer_group});

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// A type of its own; comes only when it is expanded.
     "refunds",
     // The card in its old form, with more of it than is to be kept.
     "card", "source",
     // What the bank and the fraud checks made of it.
     "authorization_code", "fraud_details", "radar_options", "review",
     // What was sent where, what was bought, and in which currency it was shown.
     "level3", "presentment_details", "shipping",
     // The statement once more.
     "calculated_statement_descriptor", "statement_descriptor_suffix",
     // Whose application or account it ran through, and what that took.
     "application", "application_fee", "failure_balance_transaction", "on_behalf_of",
     "source_transfer", "transfer", "transfer_data",
     // Of API versions before ours.
     "destination", "dispute", "invoice", "order", "statement_description"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::charge,
                            .object = "charge",
                            .path = "/v1/charges",
                            .properties = kProperties.view(),
                            .page = "/payments/"};
}  // namespace charge

namespace refund {
namespace a = manifest::refund;
SLUICE_FIELDS(kFields, {"amount", As::integer, a::amount},
              {"balance_transaction", As::reference, a::balance_transaction},
              {"charge", As::reference, a::charge}, {"created", As::unix_seconds, a::created},
              {"currency", As::text, a::currency}, {"customer", As::reference, a::customer},
              {"customer_account", As::reference, a::customer_account},
              {"description", As::text, a::description},
              {"failure_balance_transaction", As::reference, a::failure_balance_transaction},
              {"failure_reason", As::text, a::failure_reason}, {"metadata", As::json, a::metadata},
              {"payment_intent", As::reference, a::payment_intent},
              {"payment_method", As::reference, a::payment_method}, {"reason", As::text, a::reason},
              {"receipt_number", As::text, a::receipt_number}, {"status", As::text, a::status});

inline constexpr auto kLeftOut =
    std::to_array<std::string_view>({// Addresses and instructions for the one who gets the money.
                                     "instructions_email", "next_action",
                                     // Where it went and why it waits.
                                     "destination_details", "pending_reason", "presentment_details",
                                     // Of transfers, which are not covered.
                                     "source_transfer_reversal", "transfer_reversal"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::refund,
                            .object = "refund",
                            .path = "/v1/refunds",
                            .properties = kProperties.view(),
                            .page = "/payments/",
                            .shown_by = "charge"};
}  // namespace refund

namespace dispute {
namespace a = manifest::dispute;
SLUICE_FIELDS(kEvidence, {"due_by", As::unix_seconds, a::evidence_due_by},
              {"has_evidence", As::boolean, a::has_evidence},
              {"past_due", As::boolean, a::past_due},
              {"submission_count", As::integer, a::submission_count});
SLUICE_FIELDS(kFields, {"amount", As::integer, a::amount}, {"charge", As::reference, a::charge},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"evidence_details", kEvidence},
              {"is_charge_refundable", As::boolean, a::is_charge_refundable},
              {"livemode", As::boolean, a::livemode}, {"metadata", As::json, a::metadata},
              {"network_reason_code", As::text, a::network_reason_code},
              {"payment_intent", As::reference, a::payment_intent}, {"reason", As::text, a::reason},
              {"status", As::text, a::status});

/// Its balance transactions come as whole objects; they are a type of their own.
inline void more(Record& record, const json::Value& object) {
  const json::Value list = object["balance_transactions"];
  put_ids(record, a::balance_transactions, list);
  put_first_reference(record, a::balance_transaction, list, "id");
}

inline constexpr auto kLeftOut =
    std::to_array<std::string_view>({// Read by more().
                                     "balance_transactions",
                                     // Personal: what was written and sent to win it.
                                     "evidence",
                                     // How it may be and will be fought.
                                     "enhanced_eligibility_types", "intended_submission_method",
                                     // The card once more.
                                     "payment_method_details",
                                     // Of API versions before ours.
                                     "balance_transaction"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::dispute,
                            .object = "dispute",
                            .path = "/v1/disputes",
                            .properties = kProperties.view(),
                            .page = "/disputes/",
                            .more = &more};
}  // namespace dispute

namespace payout {
namespace a = manifest::payout;
SLUICE_FIELDS(
    kFields, {"amount", As::integer, a::amount},
    {"arrival_date", As::unix_seconds, a::arrival_date}, {"automatic", As::boolean, a::automatic},
    {"balance_transaction", As::reference, a::balance_transaction},
    {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
    {"description", As::text, a::description}, {"destination", As::reference, a::destination},
    {"failure_code", As::text, a::failure_code}, {"failure_message", As::text, a::failure_message},
    {"livemode", As::boolean, a::livemode}, {"metadata", As::json, a::metadata},
    {"method", As::text, a::method}, {"original_payout", As::reference, a::original_payout},
    {"reconciliation_status", As::text, a::reconciliation_status},
    {"reversed_by", As::reference, a::reversed_by},
    {"statement_descriptor", As::text, a::statement_descriptor}, {"status", As::text, a::status},
    {"type", As::text, a::type});

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// Whose application or account it ran through, and what that took.
     "application_fee", "application_fee_amount",
     // How the bank names it and from which balance it came.
     "failure_balance_transaction", "payout_method", "source_type", "trace_id",
     // Of API versions before ours.
     "bank_account", "card", "date", "recipient"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::payout,
                            .object = "payout",
                            .path = "/v1/payouts",
                            .properties = kProperties.view(),
                            .page = "/payouts/"};
}  // namespace payout

namespace balance_transaction {
namespace a = manifest::balance_transaction;
SLUICE_FIELDS(kFields, {"amount", As::integer, a::amount},
              {"available_on", As::unix_seconds, a::available_on},
              {"balance_type", As::text, a::balance_type},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"description", As::text, a::description},
              {"exchange_rate", As::number, a::exchange_rate}, {"fee", As::integer, a::fee},
              {"fee_details", As::json, a::fee_details}, {"net", As::integer, a::net},
              {"reporting_category", As::text, a::reporting_category},
              {"source", As::reference, a::source}, {"status", As::text, a::status},
              {"type", As::text, a::type});

inline constexpr auto kLeftOut = std::to_array<std::string_view>({// Of API versions before ours.
                                                                  "sourced_transfers"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::balance_transaction,
                            .object = "balance_transaction",
                            .path = "/v1/balance_transactions",
                            .properties = kProperties.view()};
}  // namespace balance_transaction

namespace payment_method {
namespace a = manifest::payment_method;
SLUICE_FIELDS(kBilling, {"address", As::json, a::billing_address},
              {"email", As::text, a::billing_email}, {"name", As::text, a::billing_name},
              {"phone", As::text, a::billing_phone}, {"tax_id", As::text, a::billing_tax_id});
SLUICE_FIELDS(kWallet, {"type", As::text, a::card_wallet});
SLUICE_FIELDS(kCard, {"brand", As::text, a::card_brand}, {"country", As::text, a::card_country},
              {"exp_month", As::integer, a::card_exp_month},
              {"exp_year", As::integer, a::card_exp_year},
              {"fingerprint", As::text, a::card_fingerprint},
              {"funding", As::text, a::card_funding}, {"last4", As::text, a::card_last4},
              {"wallet", kWallet});
SLUICE_FIELDS(kFields, {"allow_redisplay", As::text, a::allow_redisplay},
              {"billing_details", kBilling}, {"card", kCard},
              {"created", As::unix_seconds, a::created}, {"customer", As::reference, a::customer},
              {"customer_account", As::reference, a::customer_account},
              {"livemode", As::boolean, a::livemode}, {"metadata", As::json, a::metadata},
              {"type", As::text, a::type});

/// Each type has an object of its own name; of a card the table has taken what is to be kept.
inline void more(Record& record, const json::Value& object) {
  const std::string_view type = object["type"].text();
  if (type.empty() || type == "card") return;
  const json::Value details = object[type];
  if (details.is_object()) record.json(a::details, details.compact(record.scratch()));
}

inline constexpr auto kLeftOut = std::to_array<std::string_view>({// A session of the fraud checks.
                                                                  "radar_options"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::payment_method,
                            .object = "payment_method",
                            .path = "/v1/payment_methods",
                            .properties = kProperties.view(),
                            .page = "/customers/",
                            .shown_by = "customer",
                            .more = &more,
                            .details_by = "type"};
}  // namespace payment_method

namespace checkout_session {
namespace a = manifest::checkout_session;
SLUICE_FIELDS(kDetails, {"address", As::json, a::details_address},
              {"business_name", As::text, a::details_business_name},
              {"email", As::text, a::details_email},
              {"individual_name", As::text, a::details_individual_name},
              {"name", As::text, a::details_name}, {"phone", As::text, a::details_phone},
              {"tax_exempt", As::text, a::details_tax_exempt},
              {"tax_ids", As::json, a::details_tax_ids});
SLUICE_FIELDS(kFields, {"amount_subtotal", As::integer, a::amount_subtotal},
              {"amount_total", As::integer, a::amount_total},
              {"client_reference_id", As::text, a::client_reference_id},
              {"created", As::unix_seconds, a::created}, {"currency", As::text, a::currency},
              {"customer", As::reference, a::customer},
              {"customer_account", As::reference, a::customer_account},
              {"customer_details", kDetails}, {"customer_email", As::text, a::customer_email},
              {"expires_at", As::unix_seconds, a::expires_at},
              {"invoice", As::reference, a::invoice}, {"livemode", As::boolean, a::livemode},
              {"metadata", As::json, a::metadata}, {"mode", As::text, a::mode},
              {"payment_intent", As::reference, a::payment_intent},
              {"payment_link", As::reference, a::payment_link},
              {"payment_status", As::text, a::payment_status},
              {"setup_intent", As::reference, a::setup_intent}, {"status", As::text, a::status},
              {"subscription", As::reference, a::subscription},
              {"success_url", As::text, a::success_url},
              {"total_details", As::json, a::total_details}, {"url", As::text, a::url});

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// Secrets: who has one can pay or confirm in the customer's place.
     "client_secret",
     // Comes only when it is expanded, and not covered.
     "line_items",
     // What the page asked for and offered, not what came of it.
     "adaptive_pricing", "after_expiration", "allow_promotion_codes",
     "allowed_payment_method_types", "automatic_tax", "billing_address_collection",
     "branding_settings", "cancel_url", "consent_collection", "custom_fields", "custom_text",
     "customer_creation", "excluded_payment_method_types", "integration_identifier",
     "invoice_creation", "locale", "managed_payments", "name_collection", "optional_items",
     "origin_context", "payment_method_collection", "payment_method_configuration_details",
     "payment_method_options", "payment_method_types", "permissions", "phone_number_collection",
     "redirect_on_completion", "return_url", "saved_payment_method_options",
     "shipping_address_collection", "shipping_options", "submit_type", "tax_id_collection",
     "ui_mode", "wallet_options",
     // What was filled in: the payment, its customer and the totals have it.
     "collected_information", "consent", "currency_conversion", "discounts", "presentment_details",
     "recovered_from", "shipping_cost",
     // Of API versions before ours.
     "display_items", "shipping", "shipping_details", "shipping_rate"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::checkout_session,
                            .object = "checkout.session",
                            .path = "/v1/checkout/sessions",
                            .properties = kProperties.view(),
                            .page = "/payments/",
                            .shown_by = "payment_intent"};
}  // namespace checkout_session

namespace setup_intent {
namespace a = manifest::setup_intent;
SLUICE_FIELDS(kError, {"code", As::text, a::last_error_code},
              {"decline_code", As::text, a::last_error_decline_code},
              {"message", As::text, a::last_error_message}, {"type", As::text, a::last_error_type});
SLUICE_FIELDS(kFields, {"cancellation_reason", As::text, a::cancellation_reason},
              {"created", As::unix_seconds, a::created}, {"customer", As::reference, a::customer},
              {"customer_account", As::reference, a::customer_account},
              {"description", As::text, a::description}, {"last_setup_error", kError},
              {"latest_attempt", As::reference, a::latest_attempt},
              {"livemode", As::boolean, a::livemode}, {"mandate", As::reference, a::mandate},
              {"metadata", As::json, a::metadata},
              {"payment_method", As::reference, a::payment_method},
              {"payment_method_types", As::json, a::payment_method_types},
              {"status", As::text, a::status}, {"usage", As::text, a::usage});

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// Secrets: who has one can pay or confirm in the customer's place.
     "client_secret",
     // Holds addresses that are good for one setup.
     "next_action",
     // How the object was set up, which says nothing of what became of it.
     "allowed_payment_method_types", "attach_to_self", "automatic_payment_methods",
     "excluded_payment_method_types", "flow_directions", "managed_payments",
     "payment_method_configuration_details", "payment_method_options", "single_use_mandate",
     // Whose application or account it ran through, and what that took.
     "application", "on_behalf_of"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::setup_intent,
                            .object = "setup_intent",
                            .path = "/v1/setup_intents",
                            .properties = kProperties.view(),
                            .page = "/setup_intents/"};
}  // namespace setup_intent

namespace account {
namespace a = manifest::account;
SLUICE_FIELDS(kProfile, {"name", As::text, a::business_name},
              {"support_email", As::text, a::support_email},
              {"support_phone", As::text, a::support_phone}, {"url", As::text, a::business_url});
SLUICE_FIELDS(kFields, {"business_profile", kProfile},
              {"business_type", As::text, a::business_type},
              {"charges_enabled", As::boolean, a::charges_enabled},
              {"country", As::text, a::country}, {"created", As::unix_seconds, a::created},
              {"default_currency", As::text, a::default_currency},
              {"details_submitted", As::boolean, a::details_submitted},
              {"email", As::text, a::email}, {"metadata", As::json, a::metadata},
              {"payouts_enabled", As::boolean, a::payouts_enabled}, {"type", As::text, a::type});

inline constexpr auto kLeftOut = std::to_array<std::string_view>(
    {// Personal: who owns and runs it, and what has to be shown of them.
     "company", "future_requirements", "groups", "individual", "requirements", "tos_acceptance",
     // Bank accounts and cards it is paid out to.
     "external_accounts",
     // What it may do and how it is set up.
     "capabilities", "controller", "settings",
     // Of API versions before ours. Some of it was secret.
     "bank_accounts", "business_logo", "business_name", "business_primary_color", "business_url",
     "currencies_supported", "debit_negative_balances", "decline_charge_on", "display_name", "keys",
     "legal_entity", "managed", "payout_schedule", "payout_statement_descriptor",
     "product_description", "requested_capabilities", "statement_descriptor", "support_email",
     "support_phone", "support_url", "timezone", "transfers_enabled", "verification"});
inline constexpr auto kProperties = known_properties(kFieldsRows, kLeftOut);

inline constexpr Kind kKind{.type = types::account,
                            .object = "account",
                            .path = "/v1/accounts",
                            .properties = kProperties.view()};
}  // namespace account

}  // namespace stripe::objects

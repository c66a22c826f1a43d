// Properties that Stripe adds: put out as they are, under their own names. And those it is known to
// send: kept, read elsewhere or left out, each on purpose.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <array>
#include <map>
#include <sstream>

#include "plugins/stripe/conversation.hpp"

namespace sluice::stripe_test {
namespace {

using nlohmann::json;

struct Known {
  std::string_view type;
  std::string_view object;
  std::string_view names;
};

/// Everything that 2026-10-28.endive may send of each type, expanded or not.
constexpr std::array<Known, 21> kKnown{{
    {"customer", "customer",
     "address balance business_name cash_balance created currency customer_account "
     "default_source delinquent description discount email individual_name "
     "invoice_credit_balance invoice_prefix invoice_settings livemode metadata name "
     "next_invoice_sequence phone preferred_locales shipping sources subscriptions tax "
     "tax_exempt tax_ids test_clock"},
    {"product", "product",
     "active created default_price description images livemode marketing_features "
     "metadata name package_dimensions shippable statement_descriptor tax_code "
     "tax_details type unit_label updated url"},
    {"price", "price",
     "active billing_scheme created currency currency_options custom_unit_amount "
     "livemode lookup_key metadata nickname product recurring tax_behavior tiers "
     "tiers_mode transform_quantity type unit_amount unit_amount_decimal"},
    {"subscription", "subscription",
     "application application_fee_percent automatic_tax billing_cycle_anchor "
     "billing_cycle_anchor_config billing_mode billing_schedules billing_thresholds "
     "cancel_at cancel_at_period_end canceled_at cancellation_details "
     "collection_method created currency customer customer_account days_until_due "
     "default_payment_method default_source default_tax_rates description discounts "
     "ended_at invoice_settings items latest_invoice livemode managed_payments "
     "metadata next_pending_invoice_item_invoice on_behalf_of pause_collection "
     "payment_settings pending_invoice_item_interval pending_setup_intent "
     "pending_update presentment_details schedule start_date status status_details "
     "test_clock transfer_data trial_end trial_settings trial_start"},
    {"subscription_item", "subscription_item",
     "billed_until billing_thresholds created current_period_end current_period_start "
     "current_trial discounts metadata plan price quantity subscription tax_rates"},
    {"invoice", "invoice",
     "account_country account_name account_tax_ids amount_due amount_overpaid "
     "amount_paid amount_paid_off_stripe amount_remaining amount_shipping application "
     "attempt_count attempted auto_advance automatic_tax automatically_finalizes_at "
     "billing_reason collection_method confirmation_secret created currency "
     "custom_fields customer customer_account customer_address customer_email "
     "customer_name customer_phone customer_shipping customer_tax_exempt "
     "customer_tax_ids default_payment_method default_source default_tax_rates "
     "description discounts due_date effective_at ending_balance footer from_invoice "
     "hosted_invoice_url invoice_pdf issuer last_finalization_error latest_revision "
     "lines livemode metadata next_payment_attempt number on_behalf_of parent "
     "payment_settings payments period_end period_start "
     "post_payment_credit_notes_amount pre_payment_credit_notes_amount receipt_number "
     "rendering shipping_cost shipping_details starting_balance statement_descriptor "
     "status status_details status_transitions subtotal subtotal_excluding_tax "
     "test_clock threshold_reason total total_discount_amounts total_excluding_tax "
     "total_pretax_credit_amounts total_taxes webhooks_delivered_at"},
    {"invoice_line", "line_item",
     "amount currency description discount_amounts discountable discounts invoice "
     "livemode metadata parent period pretax_credit_amounts pricing quantity "
     "quantity_decimal subscription subtotal taxes"},
    {"invoice_payment", "invoice_payment",
     "amount_paid amount_requested created currency invoice is_default livemode "
     "payment status status_transitions"},
    {"charge", "charge",
     "amount amount_captured amount_refunded application application_fee "
     "application_fee_amount authorization_code balance_transaction billing_details "
     "calculated_statement_descriptor captured created currency customer description "
     "disputed failure_balance_transaction failure_code failure_message fraud_details "
     "level3 livemode metadata on_behalf_of outcome paid payment_intent payment_method "
     "payment_method_details presentment_details radar_options receipt_email "
     "receipt_number receipt_url refunded refunds review shipping source "
     "source_transfer statement_descriptor statement_descriptor_suffix status transfer "
     "transfer_data transfer_group"},
    {"payment_intent", "payment_intent",
     "allowed_payment_method_types amount amount_capturable amount_details "
     "amount_received application application_fee_amount automatic_payment_methods "
     "canceled_at cancellation_reason capture_method client_secret confirmation_method "
     "created currency customer customer_account description "
     "excluded_payment_method_types hooks last_payment_error latest_charge livemode "
     "managed_payments metadata next_action on_behalf_of payment_details "
     "payment_method payment_method_configuration_details payment_method_options "
     "payment_method_types payment_record presentment_details processing receipt_email "
     "review setup_future_usage shipping source statement_descriptor "
     "statement_descriptor_suffix status transfer_data transfer_group"},
    {"refund", "refund",
     "amount balance_transaction charge created currency customer customer_account "
     "description destination_details failure_balance_transaction failure_reason "
     "instructions_email metadata next_action payment_intent payment_method "
     "pending_reason presentment_details reason receipt_number "
     "source_transfer_reversal status transfer_reversal"},
    {"dispute", "dispute",
     "amount balance_transactions charge created currency enhanced_eligibility_types "
     "evidence evidence_details intended_submission_method is_charge_refundable "
     "livemode metadata network_reason_code payment_intent payment_method_details "
     "reason status"},
    {"payout", "payout",
     "amount application_fee application_fee_amount arrival_date automatic "
     "balance_transaction created currency description destination "
     "failure_balance_transaction failure_code failure_message livemode metadata "
     "method original_payout payout_method reconciliation_status reversed_by "
     "source_type statement_descriptor status trace_id type"},
    {"balance_transaction", "balance_transaction",
     "amount available_on balance_type created currency description exchange_rate fee "
     "fee_details net reporting_category source status type"},
    {"payment_method", "payment_method",
     "allow_redisplay billing_details card created customer customer_account livemode "
     "metadata radar_options type"},
    {"coupon", "coupon",
     "amount_off applies_to created currency currency_options duration "
     "duration_in_months livemode max_redemptions metadata name percent_off redeem_by "
     "times_redeemed valid"},
    {"promotion_code", "promotion_code",
     "active code created customer customer_account expires_at livemode "
     "max_redemptions metadata promotion restrictions times_redeemed"},
    {"credit_note", "credit_note",
     "amount amount_shipping created currency customer customer_account "
     "customer_balance_transaction discount_amount discount_amounts effective_at "
     "invoice lines livemode memo metadata number out_of_band_amount pdf "
     "post_payment_amount pre_payment_amount pretax_credit_amounts reason refunds "
     "shipping_cost status subtotal subtotal_excluding_tax total total_excluding_tax "
     "total_taxes type voided_at"},
    {"checkout_session", "checkout.session",
     "adaptive_pricing after_expiration allow_promotion_codes "
     "allowed_payment_method_types amount_subtotal amount_total automatic_tax "
     "billing_address_collection branding_settings cancel_url client_reference_id "
     "client_secret collected_information consent consent_collection created currency "
     "currency_conversion custom_fields custom_text customer customer_account "
     "customer_creation customer_details customer_email discounts "
     "excluded_payment_method_types expires_at integration_identifier invoice "
     "invoice_creation line_items livemode locale managed_payments metadata mode "
     "name_collection optional_items origin_context payment_intent payment_link "
     "payment_method_collection payment_method_configuration_details "
     "payment_method_options payment_method_types payment_status permissions "
     "phone_number_collection presentment_details recovered_from "
     "redirect_on_completion return_url saved_payment_method_options setup_intent "
     "shipping_address_collection shipping_cost shipping_options status submit_type "
     "subscription success_url tax_id_collection total_details ui_mode url "
     "wallet_options"},
    {"setup_intent", "setup_intent",
     "allowed_payment_method_types application attach_to_self "
     "automatic_payment_methods cancellation_reason client_secret created customer "
     "customer_account description excluded_payment_method_types flow_directions "
     "last_setup_error latest_attempt livemode managed_payments mandate metadata "
     "next_action on_behalf_of payment_method payment_method_configuration_details "
     "payment_method_options payment_method_types single_use_mandate status usage"},
    {"account", "account",
     "business_profile business_type capabilities charges_enabled company controller "
     "country created default_currency details_submitted email external_accounts "
     "future_requirements groups individual metadata payouts_enabled requirements "
     "settings tos_acceptance type"},
}};

/// Each type of payment method has a property of its own name.
constexpr std::string_view kMethods =
    "acss_debit affirm afterpay_clearpay alipay alma amazon_pay au_becs_debit "
    "bacs_debit bancontact billie bizum blik boleto card_present cashapp crypto "
    "custom customer_balance eps fpx giropay grabpay ideal interac_present kakao_pay "
    "klarna konbini kr_card link mb_way mobilepay multibanco naver_pay "
    "nz_bank_account oxxo p24 pay_by_bank payco paynow paypal paypay payto pix "
    "promptpay revolut_pay samsung_pay satispay scalapay sepa_debit sequra sofort "
    "sunbit swish twint upi us_bank_account wechat_pay zip";

std::vector<std::string> words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> all;
  for (std::string word; stream >> word;) all.push_back(word);
  return all;
}

/// FETCH of one object, whose answer is `body` word for word, by way of the invoice for a line.
Outcome fetched(std::string_view type, const std::string& body) {
  const bool line = type == "invoice_line";
  contract::SessionArgs args;
  args.operation = contract::Operation::fetch;
  args.type = type_named(line ? "invoice" : type);
  args.ids = {line ? "in_1" : "x_1"};
  return converse(args, [&](const std::string&) {
    Answer answer;
    answer.body = line ? R"({"id":"in_1","object":"invoice","lines":{"has_more":false,"data":[)" +
                             body + "]}}"
                       : body;
    answer.headers.emplace_back("Stripe-Version", "2026-10-28.endive");
    return answer;
  });
}

using Values = std::map<std::string, std::string>;

/// What was discovered of x_1; the record must have been taken.
Values discovered(std::string_view type, const std::string& body) {
  const Outcome outcome = fetched(type, body);
  const std::string key = std::string(type) + " x_1";
  EXPECT_TRUE(outcome.done) << outcome.broken << (outcome.failure ? outcome.failure->message : "");
  EXPECT_TRUE(outcome.rejected.empty()) << type << ": " << outcome.rejected.front();
  EXPECT_TRUE(outcome.records.contains(key)) << key;
  const auto found = outcome.discovered.find(key);
  return found == outcome.discovered.end() ? Values{} : found->second;
}

std::string body_of(std::string_view object, const std::string& members) {
  return R"({"id":"x_1","object":")" + std::string(object) + "\"," + members + "}";
}

TEST(StripeProperties, what_our_version_sends_is_known_of_every_type) {
  for (const Known& known : kKnown) {
    std::string members = R"("deleted":false)";
    for (const std::string& name : words(known.names)) members += ",\"" + name + "\":null";
    EXPECT_EQ(discovered(known.type, body_of(known.object, members)), Values{}) << known.type;
  }
}

TEST(StripeProperties, the_list_of_types_is_whole) {
  std::set<std::string_view> types;
  for (const Known& known : kKnown) types.insert(known.type);
  for (const auto& type : stripe_code().manifest().entity_types)
    EXPECT_TRUE(types.contains(type.name)) << type.name;
}

TEST(StripeProperties, the_details_of_a_payment_method_stand_under_its_type) {
  for (const std::string& method : words(kMethods)) {
    const std::string details = "\"" + method + R"(":{"a":1})";
    const std::string type = R"("type":")" + method + "\"";
    EXPECT_EQ(discovered("payment_method", body_of("payment_method", details + "," + type)),
              Values{});
    EXPECT_EQ(discovered("payment_method", body_of("payment_method", type + "," + details)),
              Values{});
  }
  // A type that nobody knew is no other.
  EXPECT_EQ(discovered("payment_method",
                       body_of("payment_method", R"("type":"teleport","teleport":{"a":1},"b":2)")),
            (Values{{"b", "2"}}));
}

TEST(StripeProperties, what_is_new_is_put_out_as_it_is_for_every_type) {
  for (const Known& known : kKnown) {
    // In front of what is known, behind it, and between.
    const std::string members =
        R"("a_text":"caf\u00e9","b_whole":-7,"deleted":false,"c_flag":false,"livemode":true,)"
        R"("n_list":[1, {"x": 2}],"o_object":{"a": [1]},"zz_nothing":null,"zz_share":0.25)";
    const Values expected{{"a_text", "\"café\""},
                          {"b_whole", "-7"},
                          {"c_flag", "false"},
                          {"n_list", R"(json [1,{"x":2}])"},
                          {"o_object", R"(json {"a":[1]})"},
                          {"zz_nothing", "null"},
                          {"zz_share", "decimal 0.25"}};
    EXPECT_EQ(discovered(known.type, body_of(known.object, members)), expected) << known.type;
  }
}

TEST(StripeProperties, an_answer_in_an_older_version_shows_no_old_properties) {
  const std::string body =
      body_of("invoice",
              R"("charge":"ch_1","discount":null,"paid":true,"payment_intent":"pi_1","quote":null,)"
              R"("subscription":"sub_1","tax":19,"total_tax_amounts":[],"brand_new":1)");
  contract::SessionArgs args;
  args.operation = contract::Operation::fetch;
  args.type = type_named("invoice");
  args.ids = {"x_1"};
  for (const char* version : {"2020-08-27", "2026-10-28.endive"}) {
    const Outcome outcome = converse(args, [&](const std::string&) {
      Answer answer;
      answer.body = body;
      answer.headers.emplace_back("Stripe-Version", version);
      return answer;
    });
    ASSERT_TRUE(outcome.done) << outcome.broken;
    EXPECT_EQ(outcome.discovered.at("invoice x_1"), (Values{{"brand_new", "1"}})) << version;
    // Only in our own version are they all there are.
    EXPECT_EQ(outcome.whole.contains("invoice x_1"), version == std::string("2026-10-28.endive"));
  }
}

TEST(StripeProperties, no_secret_is_put_out_whatever_it_stands_in) {
  EXPECT_EQ(discovered("payment_intent",
                       body_of("payment_intent",
                               R"("client_secret":"no","new_secret":"no","secrets":["no"],)"
                               R"("handover":{"steps":[{"client_secret":"no"}]},"other":"yes")")),
            (Values{{"other", "\"yes\""}}));
  EXPECT_EQ(
      discovered("invoice", body_of("invoice", R"("confirmation_secret":{"client_secret":"no"})")),
      Values{});
}

TEST(StripeProperties, a_name_that_is_none_or_comes_twice_does_not_cost_the_record) {
  const std::string longest(300, 'n');
  EXPECT_EQ(discovered("customer",
                       body_of("customer", R"("brandNew":1,"brandnew":2,"brand-new":3,"":4,"9a":5,)"
                                           R"("twice":6,"twice":7,"é":8,")" +
                                               longest + R"(":9)")),
            (Values{{"brandnew", "2"},
                    {"brandnew_2", "1"},
                    {"brand_new", "3"},
                    {"_", "4"},
                    {"_9a", "5"},
                    {"twice", "7"},
                    {"__", "8"},
                    {std::string(48, 'n'), "9"}}));
}

TEST(StripeProperties, more_than_the_host_takes_costs_that_record_only) {
  std::string members = R"("created":1,"livemode":true)";
  for (int i = 0; i < 100'000; ++i) members += ",\"Wild-" + std::to_string(i) + "\":1";
  const std::string wild = body_of("customer", members);
  const Outcome outcome = converse(reading("customers"), [&](const std::string&) {
    Answer answer;
    answer.body = R"({"object":"list","has_more":false,"data":[)" + wild +
                  R"(,{"id":"x_2","object":"customer","created":1}]})";
    return answer;
  });
  ASSERT_TRUE(outcome.done) << outcome.broken << (outcome.failure ? outcome.failure->message : "");
  EXPECT_EQ(outcome.rejected, (std::vector<std::string>{"record.too_large"}));
  EXPECT_TRUE(outcome.records.contains("customer x_2"));
}

}  // namespace
}  // namespace sluice::stripe_test

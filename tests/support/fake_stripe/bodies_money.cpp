#include "bodies_money.hpp"

#include <algorithm>

#include "json_text.hpp"

namespace fake_stripe {
namespace {

constexpr std::int64_t kDayS = 24 * 3600;

std::string billing_text(std::string_view email, std::string_view name) {
  return JsonText()
      .null("address")
      .str_or_null("email", email)
      .str_or_null("name", name)
      .null("phone")
      .null("tax_id")
      .take();
}

std::string card_text(std::string_view last4, bool with_checks) {
  JsonText text;
  text.str("brand", "visa");
  if (with_checks) text.raw("checks", R"({"cvc_check":"pass"})");
  return text.str("country", "DE")
      .num("exp_month", 7)
      .num("exp_year", 2031)
      .str("fingerprint", "Fp" + std::string(last4) + "aZ9kQ1")
      .str("funding", "credit")
      .str("last4", last4)
      .null("wallet")
      .take();
}

std::string outcome_text(bool succeeded) {
  return JsonText()
      .str("network_status", succeeded ? "approved_by_network" : "declined_by_network")
      .str_or_null("reason", succeeded ? "" : "generic_decline")
      .str("risk_level", "normal")
      .str("seller_message", succeeded ? "Payment complete." : "The bank declined the payment.")
      .str("type", succeeded ? "authorized" : "issuer_declined")
      .take();
}

std::string tail_of(const std::string& id) {
  return id.substr(std::min(id.size(), id.find('_') + 1));
}

}  // namespace

std::string payment_intent_body(const IntentSpec& spec) {
  const bool succeeded = spec.status == "succeeded";
  JsonText text;
  text.str("id", spec.id).str("object", "payment_intent").num("amount", spec.amount);
  text.num("amount_capturable", spec.status == "requires_capture" ? spec.amount : 0);
  text.num("amount_received", succeeded ? spec.amount : 0).null("application");
  text.null("application_fee_amount");
  text.num_or_null("canceled_at", spec.status == "canceled" ? spec.created + 60 : 0);
  text.null("cancellation_reason").str("capture_method", "automatic");
  text.str("client_secret", spec.id + "_secret_NeverStoreThis").num("created", spec.created);
  text.str("currency", spec.currency).str_or_null("customer", spec.customer).null("description");
  if (spec.status == "requires_payment_method" && !spec.latest_charge.empty()) {
    text.raw("last_payment_error", R"({"code":"card_declined","decline_code":"generic_decline",)"
                                   R"("message":"Your card was declined.","type":"card_error"})");
  } else {
    text.null("last_payment_error");
  }
  text.str_or_null("latest_charge", spec.latest_charge).flag("livemode", false);
  text.raw("metadata", "{}").null("on_behalf_of");
  text.str_or_null("payment_method", spec.payment_method);
  text.raw("payment_method_types", R"(["card"])").str_or_null("receipt_email", spec.email);
  text.null("setup_future_usage").null("shipping").null("statement_descriptor");
  return text.str("status", spec.status).null("transfer_group").take();
}

std::string charge_body(const ChargeSpec& spec) {
  const bool succeeded = spec.status == "succeeded";
  const bool failed = spec.status == "failed";
  JsonText text;
  text.str("id", spec.id).str("object", "charge").num("amount", spec.amount);
  text.num("amount_captured", succeeded ? spec.amount : 0);
  text.num("amount_refunded", spec.amount_refunded).null("application_fee_amount");
  text.str_or_null("balance_transaction", spec.balance_transaction);
  text.raw("billing_details", billing_text(spec.email, spec.name)).flag("captured", succeeded);
  text.num("created", spec.created).str("currency", spec.currency);
  text.str_or_null("customer", spec.customer).null("description").flag("disputed", spec.disputed);
  text.str_or_null("failure_code", failed ? "card_declined" : "");
  text.str_or_null("failure_message", failed ? "Your card was declined." : "");
  text.raw("fraud_details", "{}").flag("livemode", false).raw("metadata", "{}");
  text.null("on_behalf_of").raw("outcome", outcome_text(!failed)).flag("paid", succeeded);
  text.str_or_null("payment_intent", spec.payment_intent);
  text.str_or_null("payment_method", spec.payment_method);
  const std::string details =
      JsonText().raw("card", card_text("4242", true)).str("type", "card").take();
  text.raw("payment_method_details", details).str_or_null("receipt_email", spec.email);
  text.null("receipt_number");
  text.str_or_null("receipt_url", succeeded ? "https://pay.example/receipts/" + spec.id : "");
  text.flag("refunded", spec.amount_refunded == spec.amount && spec.amount != 0).null("shipping");
  return text.null("statement_descriptor").str("status", spec.status).null("transfer_group").take();
}

std::string refund_body(const RefundSpec& spec) {
  JsonText text;
  text.str("id", spec.id).str("object", "refund").num("amount", spec.amount);
  text.str_or_null("balance_transaction", spec.balance_transaction);
  text.str_or_null("charge", spec.charge).num("created", spec.created);
  text.str("currency", spec.currency).str_or_null("customer", spec.customer);
  text.raw("metadata", "{}").str_or_null("payment_intent", spec.payment_intent);
  text.str_or_null("payment_method", spec.payment_method).str("reason", "requested_by_customer");
  return text.null("receipt_number").str("status", spec.status).take();
}

std::string transaction_body(const TransactionSpec& spec) {
  const std::string fees = spec.fee == 0 ? "[]"
                                         : "[" +
                                               JsonText()
                                                   .num("amount", spec.fee)
                                                   .null("application")
                                                   .str("currency", spec.currency)
                                                   .str("description", "Processing fees")
                                                   .str("type", "stripe_fee")
                                                   .take() +
                                               "]";
  return JsonText()
      .str("id", spec.id)
      .str("object", "balance_transaction")
      .num("amount", spec.amount)
      .num("available_on", spec.available_on)
      .str("balance_type", "payments")
      .num("created", spec.created)
      .str("currency", spec.currency)
      .null("description")
      .null("exchange_rate")
      .num("fee", spec.fee)
      .raw("fee_details", fees)
      .num("net", spec.amount - spec.fee)
      .str("reporting_category", spec.type == "adjustment" ? "dispute" : spec.type)
      .str_or_null("source", spec.source)
      .str("status", spec.available ? "available" : "pending")
      .str("type", spec.type)
      .take();
}

std::string dispute_body(const DisputeSpec& spec) {
  const std::string details = JsonText()
                                  .num("due_by", spec.created + 7 * kDayS)
                                  .flag("has_evidence", false)
                                  .flag("past_due", false)
                                  .num("submission_count", 0)
                                  .take();
  return JsonText()
      .str("id", spec.id)
      .str("object", "dispute")
      .num("amount", spec.amount)
      .raw("balance_transactions", spec.transaction.empty() ? "[]" : "[" + spec.transaction + "]")
      .str("charge", spec.charge)
      .num("created", spec.created)
      .str("currency", spec.currency)
      .raw("evidence", R"({"customer_name":null,"uncategorized_text":null})")
      .raw("evidence_details", details)
      .flag("is_charge_refundable", false)
      .flag("livemode", false)
      .raw("metadata", "{}")
      .str("network_reason_code", "10.4")
      .str_or_null("payment_intent", spec.payment_intent)
      .str("reason", "fraudulent")
      .str("status", spec.status)
      .take();
}

std::string payout_body(const PayoutSpec& spec) {
  const bool failed = spec.status == "failed";
  return JsonText()
      .str("id", spec.id)
      .str("object", "payout")
      .num("amount", spec.amount)
      .null("application_fee")
      .num("arrival_date", spec.arrival)
      .flag("automatic", spec.automatic)
      .str_or_null("balance_transaction", spec.balance_transaction)
      .num("created", spec.created)
      .str("currency", spec.currency)
      .str("description", "STRIPE PAYOUT")
      .str("destination", "ba_1FakeBankAccount000000000")
      .null("failure_balance_transaction")
      .str_or_null("failure_code", failed ? "account_closed" : "")
      .str_or_null("failure_message", failed ? "The bank account has been closed." : "")
      .flag("livemode", false)
      .raw("metadata", "{}")
      .str("method", "standard")
      .null("original_payout")
      .str("reconciliation_status", spec.automatic ? "completed" : "not_applicable")
      .null("reversed_by")
      .str("source_type", "card")
      .null("statement_descriptor")
      .str("status", spec.status)
      .str("type", "bank_account")
      .take();
}

std::string payment_method_body(const MethodSpec& spec) {
  JsonText text;
  text.str("id", spec.id).str("object", "payment_method").str("allow_redisplay", "unspecified");
  text.raw("billing_details", billing_text(spec.email, spec.name));
  if (spec.type == "card") {
    text.raw("card", card_text(spec.last4, true));
  } else {
    const std::string debit = JsonText()
                                  .str("bank_code", "37040044")
                                  .str("country", "DE")
                                  .str("last4", spec.last4)
                                  .take();
    text.raw(spec.type, debit);
  }
  text.num("created", spec.created).str_or_null("customer", spec.customer);
  return text.flag("livemode", false).raw("metadata", "{}").str("type", spec.type).take();
}

std::string setup_intent_body(const SetupSpec& spec) {
  JsonText text;
  text.str("id", spec.id).str("object", "setup_intent").null("application");
  text.str_or_null("cancellation_reason", spec.status == "canceled" ? "abandoned" : "");
  text.str("client_secret", spec.id + "_secret_NeverStoreThis").num("created", spec.created);
  text.str_or_null("customer", spec.customer).null("description").null("last_setup_error");
  text.str_or_null("latest_attempt",
                   spec.status == "succeeded" ? "setatt_" + tail_of(spec.id) : "");
  text.flag("livemode", false).null("mandate").raw("metadata", "{}").null("on_behalf_of");
  text.str_or_null("payment_method", spec.payment_method);
  text.raw("payment_method_types", R"(["card"])").str("status", spec.status);
  return text.str("usage", "off_session").take();
}

std::string coupon_body(const CouponSpec& spec) {
  const bool percent = !spec.percent_off.empty();
  return JsonText()
      .str("id", spec.id)
      .str("object", "coupon")
      .raw("amount_off", percent ? "null" : std::to_string(spec.amount_off))
      .num("created", spec.created)
      .str_or_null("currency", percent ? "" : "usd")
      .str("duration", spec.duration)
      .num_or_null("duration_in_months", spec.duration == "repeating" ? 3 : 0)
      .flag("livemode", false)
      .null("max_redemptions")
      .raw("metadata", "{}")
      .str("name", "Coupon " + spec.id.substr(0, 30))
      .raw("percent_off", percent ? spec.percent_off : "null")
      .null("redeem_by")
      .num("times_redeemed", spec.times_redeemed)
      .flag("valid", true)
      .take();
}

std::string promotion_code_body(const PromotionSpec& spec) {
  const std::string promotion =
      JsonText().str_or_null("coupon", spec.coupon).str("type", "coupon").take();
  return JsonText()
      .str("id", spec.id)
      .str("object", "promotion_code")
      .flag("active", true)
      .str("code", spec.code)
      .num("created", spec.created)
      .str_or_null("customer", spec.customer)
      .null("expires_at")
      .flag("livemode", false)
      .null("max_redemptions")
      .raw("metadata", "{}")
      .raw("promotion", promotion)
      .raw("restrictions", R"({"first_time_transaction":false,"minimum_amount":null,)"
                           R"("minimum_amount_currency":null})")
      .num("times_redeemed", 0)
      .take();
}

std::string credit_note_body(const CreditSpec& spec) {
  const std::string line = JsonText()
                               .str("id", "cnli_" + tail_of(spec.id))
                               .str("object", "credit_note_line_item")
                               .num("amount", spec.amount)
                               .str("description", "Credit")
                               .num("discount_amount", 0)
                               .flag("livemode", false)
                               .num("quantity", 1)
                               .raw("taxes", "[]")
                               .str("type", "custom_line_item")
                               .num("unit_amount", spec.amount)
                               .str("unit_amount_decimal", std::to_string(spec.amount))
                               .take();
  const std::string lines = JsonText()
                                .str("object", "list")
                                .raw("data", "[" + line + "]")
                                .flag("has_more", false)
                                .str("url", "/v1/credit_notes/" + spec.id + "/lines")
                                .take();
  const std::string refund =
      JsonText().num("amount_refunded", spec.amount).str("refund", spec.refund).take();
  JsonText text;
  text.str("id", spec.id).str("object", "credit_note").num("amount", spec.amount);
  text.num("amount_shipping", 0).num("created", spec.created).str("currency", spec.currency);
  text.str("customer", spec.customer).null("customer_balance_transaction");
  text.num("discount_amount", 0).raw("discount_amounts", "[]").num("effective_at", spec.created);
  text.str("invoice", spec.invoice).raw("lines", lines).flag("livemode", false).null("memo");
  text.raw("metadata", "{}").str("number", spec.number).null("out_of_band_amount");
  text.str("pdf", "https://invoice.example/cn/" + spec.id + "/pdf");
  text.num("post_payment_amount", spec.before_payment ? 0 : spec.amount);
  text.num("pre_payment_amount", spec.before_payment ? spec.amount : 0);
  text.str("reason", "order_change");
  text.raw("refunds", spec.refund.empty() ? "[]" : "[" + refund + "]");
  text.str("status", "issued").num("subtotal", spec.amount).num("total", spec.amount);
  text.num("total_excluding_tax", spec.amount).raw("total_taxes", "[]");
  text.str("type", spec.before_payment ? "pre_payment" : "post_payment");
  return text.null("voided_at").take();
}

std::string checkout_session_body(const SessionSpec& spec) {
  const bool open = spec.status == "open";
  const bool complete = spec.status == "complete";
  const std::string details = JsonText()
                                  .null("address")
                                  .null("business_name")
                                  .str_or_null("email", spec.email)
                                  .null("individual_name")
                                  .str_or_null("name", spec.name)
                                  .null("phone")
                                  .str("tax_exempt", "none")
                                  .raw("tax_ids", "[]")
                                  .take();
  JsonText text;
  text.str("id", spec.id).str("object", "checkout.session");
  text.num("amount_subtotal", spec.amount).num("amount_total", spec.amount);
  text.str_or_null("client_reference_id", spec.client_reference_id).null("client_secret");
  text.num("created", spec.created).str("currency", spec.currency);
  text.str_or_null("customer", spec.customer);
  text.raw("customer_details", complete ? details : "null").null("customer_email");
  text.num("expires_at", spec.created + kDayS).str_or_null("invoice", spec.invoice);
  text.flag("livemode", false).raw("metadata", "{}").str("mode", spec.mode);
  text.str_or_null("payment_intent", spec.payment_intent).null("payment_link");
  text.str("payment_status", spec.mode == "setup" ? "no_payment_required"
                             : complete           ? "paid"
                                                  : "unpaid");
  text.str_or_null("setup_intent", spec.setup_intent).str("status", spec.status);
  text.str_or_null("subscription", spec.subscription);
  text.str("success_url", "https://shop.example/thanks");
  text.raw("total_details", R"({"amount_discount":0,"amount_shipping":0,"amount_tax":0})");
  return text.str_or_null("url", open ? "https://checkout.example/c/" + spec.id : "").take();
}

}  // namespace fake_stripe

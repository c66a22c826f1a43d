#include "bodies.hpp"

#include "json_text.hpp"

namespace fake_stripe {
namespace {

std::string address_text(const CustomerSpec& spec) {
  if (spec.city.empty()) return "null";
  return JsonText()
      .str("city", spec.city)
      .str("country", "DE")
      .str("line1", spec.line1)
      .null("line2")
      .str("postal_code", "10115")
      .null("state")
      .take();
}

std::string invoice_settings_text() {
  return JsonText()
      .null("custom_fields")
      .null("default_payment_method")
      .null("footer")
      .null("rendering_options")
      .take();
}

std::string recurring_text(const PriceSpec& spec) {
  if (!spec.recurring) return "null";
  return JsonText()
      .str("interval", spec.yearly ? "year" : "month")
      .num("interval_count", 1)
      .null("meter")
      .null("trial_period_days")
      .str("usage_type", "licensed")
      .take();
}

std::string subscription_parent(const InvoiceSpec& spec) {
  if (spec.subscription.empty()) return "null";
  const std::string details =
      JsonText().raw("metadata", "{}").str("subscription", spec.subscription).take();
  return JsonText()
      .null("quote_details")
      .raw("subscription_details", details)
      .str("type", "subscription_details")
      .take();
}

std::string transitions_text(const InvoiceSpec& spec) {
  const auto at = [&](bool reached) { return reached ? spec.created + 3600 : 0; };
  return JsonText()
      .num_or_null("finalized_at", at(spec.status != "draft"))
      .num_or_null("marked_uncollectible_at", at(spec.status == "uncollectible"))
      .num_or_null("paid_at", at(spec.status == "paid"))
      .num_or_null("voided_at", at(spec.status == "void"))
      .take();
}

std::string line_parent(const LineSpec& spec) {
  JsonText details;
  if (spec.item.empty()) {
    details.str("invoice_item", "ii_" + spec.id.substr(spec.id.find('_') + 1));
  } else {
    details.null("invoice_item");
  }
  details.flag("proration", false)
      .null("proration_details")
      .str_or_null("subscription", spec.subscription);
  if (!spec.item.empty()) details.str("subscription_item", spec.item);
  const bool from_item = !spec.item.empty();
  const std::string text = details.take();
  return JsonText()
      .raw("invoice_item_details", from_item ? "null" : text)
      .raw("subscription_item_details", from_item ? text : "null")
      .str("type", from_item ? "subscription_item_details" : "invoice_item_details")
      .take();
}

std::string pricing_text(const LineSpec& spec) {
  const std::string details =
      JsonText().str("price", spec.price).str("product", spec.product).take();
  return JsonText()
      .raw("price_details", details)
      .str("type", "price_details")
      .str_or_null("unit_amount_decimal", spec.unit_amount_decimal)
      .take();
}

std::string cancellation_text(bool canceled) {
  JsonText text;
  text.null("comment").null("feedback");
  if (canceled) return text.str("reason", "cancellation_requested").take();
  return text.null("reason").take();
}

}  // namespace

std::string customer_body(const CustomerSpec& spec) {
  JsonText text;
  text.str("id", spec.id).str("object", "customer").raw("address", address_text(spec));
  text.num("balance", spec.balance).num("created", spec.created).null("currency");
  text.null("default_source").flag("delinquent", false).null("description").null("discount");
  if (spec.email) {
    text.str("email", *spec.email);
  } else {
    text.null("email");
  }
  text.raw("invoice_settings", invoice_settings_text()).flag("livemode", false);
  text.raw("metadata", spec.metadata).str_or_null("name", spec.name);
  text.num("next_invoice_sequence", 1).null("phone").raw("preferred_locales", "[]");
  return text.null("shipping").str("tax_exempt", "none").null("test_clock").take();
}

std::string product_body(const ProductSpec& spec) {
  return JsonText()
      .str("id", spec.id)
      .str("object", "product")
      .flag("active", spec.active)
      .raw("attributes", "[]")
      .num("created", spec.created)
      .str_or_null("default_price", spec.default_price)
      .null("description")
      .raw("images", "[]")
      .flag("livemode", false)
      .raw("marketing_features", "[]")
      .raw("metadata", "{}")
      .str("name", spec.name)
      .null("package_dimensions")
      .null("shippable")
      .null("statement_descriptor")
      .null("tax_code")
      .str("type", "service")
      .null("unit_label")
      .num("updated", spec.created)
      .null("url")
      .take();
}

std::string price_body(const PriceSpec& spec) {
  JsonText text;
  text.str("id", spec.id).str("object", "price").flag("active", spec.active);
  text.str("billing_scheme", spec.tiered ? "tiered" : "per_unit").num("created", spec.created);
  text.str("currency", spec.currency).null("custom_unit_amount").flag("livemode", false);
  text.null("lookup_key").raw("metadata", "{}").null("nickname").str("product", spec.product);
  text.raw("recurring", recurring_text(spec)).str("tax_behavior", "unspecified");
  text.str_or_null("tiers_mode", spec.tiered ? "graduated" : "").null("transform_quantity");
  text.str("type", spec.recurring ? "recurring" : "one_time");
  if (spec.unit_amount) {
    text.num("unit_amount", *spec.unit_amount);
  } else {
    text.null("unit_amount");
  }
  return text.str_or_null("unit_amount_decimal", spec.unit_amount_decimal).take();
}

std::string subscription_body(const SubscriptionSpec& spec) {
  const bool canceled = spec.status == "canceled";
  const std::int64_t trial_end = spec.status == "trialing" ? spec.created + kMonthS : 0;
  JsonText text;
  text.str("id", spec.id).str("object", "subscription").null("application");
  text.null("application_fee_percent").num("billing_cycle_anchor", spec.created);
  text.null("cancel_at").flag("cancel_at_period_end", false).num_or_null("canceled_at", spec.ended);
  text.raw("cancellation_details", cancellation_text(canceled));
  text.str("collection_method", "charge_automatically").num("created", spec.created);
  text.str("currency", spec.currency).str("customer", spec.customer).null("days_until_due");
  text.str_or_null("default_payment_method", spec.payment_method).null("default_source");
  text.raw("default_tax_rates", "[]");
  text.null("description").raw("discounts", "[]").num_or_null("ended_at", spec.ended);
  text.str_or_null("latest_invoice", spec.latest_invoice).flag("livemode", false);
  text.raw("metadata", "{}").null("on_behalf_of").null("pause_collection");
  text.null("pending_setup_intent").null("pending_update").null("schedule");
  text.num("start_date", spec.created).str("status", spec.status).null("test_clock");
  text.num_or_null("trial_end", trial_end);
  return text.num_or_null("trial_start", trial_end == 0 ? 0 : spec.created).take();
}

std::string plan_text(std::string_view price, std::string_view product, std::string_view currency) {
  return JsonText()
      .str("id", price)
      .str("object", "plan")
      .flag("active", true)
      .str("currency", currency)
      .str("interval", "month")
      .num("interval_count", 1)
      .str("product", product)
      .take();
}

std::string item_body(const ItemSpec& spec) {
  return JsonText()
      .str("id", spec.id)
      .str("object", "subscription_item")
      .null("billing_thresholds")
      .num("created", spec.created)
      .num("current_period_end", spec.period_end)
      .num("current_period_start", spec.period_start)
      .raw("discounts", "[]")
      .raw("metadata", "{}")
      .raw("plan", plan_text(spec.price, spec.product, spec.currency))
      .num("quantity", spec.quantity)
      .str("subscription", spec.subscription)
      .raw("tax_rates", "[]")
      .take();
}

std::string invoice_body(const InvoiceSpec& spec) {
  const bool paid = spec.status == "paid";
  const bool draft = spec.status == "draft";
  JsonText text;
  text.str("id", spec.id).str("object", "invoice").num("amount_due", spec.total);
  text.num("amount_overpaid", 0).num("amount_paid", paid ? spec.total : 0);
  text.num("amount_remaining", paid ? 0 : spec.total).num("attempt_count", draft ? 0 : 1);
  text.flag("attempted", !draft).flag("auto_advance", draft);
  text.str("billing_reason", spec.subscription.empty() ? "manual" : "subscription_cycle");
  text.str("collection_method", spec.due > 0 ? "send_invoice" : "charge_automatically");
  text.num("created", spec.created);
  text.str("currency", spec.currency).str("customer", spec.customer);
  text.str_or_null("customer_email", spec.customer_email);
  text.str_or_null("customer_name", spec.customer_name).null("customer_phone");
  text.null("default_payment_method").null("description").raw("discounts", "[]");
  text.num_or_null("due_date", spec.due);
  text.num_or_null("effective_at", draft ? 0 : spec.created + 3600);
  text.num_or_null("ending_balance", 0).null("footer");
  text.str_or_null("hosted_invoice_url", draft ? "" : "https://invoice.example/i/" + spec.id);
  text.str_or_null("invoice_pdf", draft ? "" : "https://invoice.example/i/" + spec.id + "/pdf");
  text.flag("livemode", false).raw("metadata", "{}").null("next_payment_attempt");
  text.str_or_null("number", spec.number).raw("parent", subscription_parent(spec));
  text.num("period_end", spec.created).num("period_start", spec.created - kMonthS);
  text.num("starting_balance", 0).str("status", spec.status);
  text.raw("status_transitions", transitions_text(spec)).num("subtotal", spec.total);
  text.num("total", spec.total).raw("total_discount_amounts", "[]");
  return text.num("total_excluding_tax", spec.total).raw("total_taxes", "[]").take();
}

std::string line_body(const LineSpec& spec) {
  const std::string period =
      JsonText().num("end", spec.period_end).num("start", spec.period_start).take();
  return JsonText()
      .str("id", spec.id)
      .str("object", "line_item")
      .num("amount", spec.amount)
      .str("currency", spec.currency)
      .str_or_null("description", spec.description)
      .raw("discount_amounts", "[]")
      .flag("discountable", true)
      .raw("discounts", "[]")
      .str("invoice", spec.invoice)
      .flag("livemode", false)
      .raw("metadata", "{}")
      .raw("parent", line_parent(spec))
      .raw("period", period)
      .raw("pricing", pricing_text(spec))
      .num("quantity", spec.quantity)
      .str("quantity_decimal", std::to_string(spec.quantity))
      .str_or_null("subscription", spec.subscription)
      .num("subtotal", spec.amount)
      .raw("taxes", "[]")
      .take();
}

std::string payment_body(const PaymentSpec& spec) {
  const bool paid = spec.status == "paid";
  const bool intent = !spec.payment_intent.empty();
  const std::string payment =
      JsonText()
          .str(intent ? "payment_intent" : "charge", intent ? spec.payment_intent : spec.charge)
          .str("type", intent ? "payment_intent" : "charge")
          .take();
  const std::string transitions =
      JsonText().null("canceled_at").num_or_null("paid_at", paid ? spec.created + 60 : 0).take();
  JsonText text;
  text.str("id", spec.id).str("object", "invoice_payment");
  if (paid) {
    text.num("amount_paid", spec.amount);
  } else {
    text.null("amount_paid");
  }
  return text.num("amount_requested", spec.amount)
      .num("created", spec.created)
      .str("currency", spec.currency)
      .str("invoice", spec.invoice)
      .flag("is_default", spec.is_default)
      .flag("livemode", false)
      .raw("payment", payment)
      .str("status", spec.status)
      .raw("status_transitions", transitions)
      .take();
}

std::string account_body(std::string_view id, std::int64_t created) {
  const std::string profile = JsonText()
                                  .str("name", "Demo Account")
                                  .null("support_email")
                                  .null("support_phone")
                                  .null("url")
                                  .take();
  return JsonText()
      .str("id", id)
      .str("object", "account")
      .raw("business_profile", profile)
      .str("business_type", "company")
      .flag("charges_enabled", true)
      .str("country", "DE")
      .num("created", created)
      .str("default_currency", "eur")
      .flag("details_submitted", true)
      .str("email", "owner@example.com")
      .raw("metadata", "{}")
      .flag("payouts_enabled", true)
      .str("type", "standard")
      .take();
}

}  // namespace fake_stripe

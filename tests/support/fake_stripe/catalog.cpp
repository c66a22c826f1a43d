#include "catalog.hpp"

namespace fake_stripe {
namespace {

std::vector<Resource> make_catalog() {
  return {
      {.type = "account",
       .object = "account",
       .path = "accounts",
       .id_prefix = "acct_",
       .permission = "rak_account_read",
       .event_updated = "account.updated"},
      {.type = "customer",
       .object = "customer",
       .path = "customers",
       .id_prefix = "cus_",
       .permission = "rak_customer_read",
       .deletion = Deletion::kTombstone,
       .event_created = "customer.created",
       .event_updated = "customer.updated",
       .event_deleted = "customer.deleted",
       .scanned = {"email"}},
      {.type = "product",
       .object = "product",
       .path = "products",
       .id_prefix = "prod_",
       .permission = "rak_product_read",
       .deletion = Deletion::kMissing,
       .event_created = "product.created",
       .event_updated = "product.updated",
       .event_deleted = "product.deleted",
       .scanned = {"active"},
       .references = {{"default_price", "price"}}},
      {.type = "price",
       .object = "price",
       .path = "prices",
       .id_prefix = "price_",
       .permission = "rak_plan_read",
       .deletion = Deletion::kMissing,
       .event_created = "price.created",
       .event_updated = "price.updated",
       .event_deleted = "price.deleted",
       .filters = {{"product", "product"}},
       .scanned = {"active", "currency", "type"},
       .references = {{"product", "product"}}},
      {.type = "subscription",
       .object = "subscription",
       .path = "subscriptions",
       .id_prefix = "sub_",
       .permission = "rak_subscription_read",
       .deletion = Deletion::kCancels,
       .event_created = "customer.subscription.created",
       .event_updated = "customer.subscription.updated",
       .event_deleted = "customer.subscription.deleted",
       .filters = {{"customer", "customer"}},
       .scanned = {"status", "collection_method"},
       .references = {{"customer", "customer"}, {"latest_invoice", "invoice"}}},
      {.type = "subscription_item",
       .object = "subscription_item",
       .path = "subscription_items",
       .id_prefix = "si_",
       .permission = "rak_subscription_read",
       .deletion = Deletion::kMissing,
       .filters_created = false,
       .parent_field = "subscription",
       .parent_type = "subscription"},
      {.type = "invoice",
       .object = "invoice",
       .path = "invoices",
       .id_prefix = "in_",
       .permission = "rak_invoice_read",
       .deletion = Deletion::kMissing,
       .event_created = "invoice.created",
       .event_updated = "invoice.updated",
       .event_deleted = "invoice.deleted",
       .filters = {{"customer", "customer"}, {"subscription", "subscription"}},
       .scanned = {"status", "collection_method"},
       .references = {{"customer", "customer"}}},
      {.type = "invoice_line",
       .object = "line_item",
       .path = {},
       .id_prefix = "il_",
       .permission = "rak_invoice_read",
       .deletion = Deletion::kMissing,
       .filters_created = false,
       .parent_field = "invoice",
       .parent_type = "invoice"},
      {.type = "invoice_payment",
       .object = "invoice_payment",
       .path = "invoice_payments",
       .id_prefix = "inpay_",
       .permission = "rak_invoice_read",
       .event_created = "invoice_payment.paid",
       .filters = {{"invoice", "invoice"}},
       .scanned = {"status"},
       .references = {{"invoice", "invoice"}}},
      {.type = "payment_intent",
       .object = "payment_intent",
       .path = "payment_intents",
       .id_prefix = "pi_",
       .permission = "rak_payment_intent_read",
       .event_created = "payment_intent.created",
       .event_updated = "payment_intent.succeeded",
       .filters = {{"customer", "customer"}},
       .references = {{"customer", "customer"}, {"latest_charge", "charge"}}},
      {.type = "charge",
       .object = "charge",
       .path = "charges",
       .id_prefix = "ch_",
       .permission = "rak_charge_read",
       .event_created = "charge.succeeded",
       .event_updated = "charge.updated",
       .filters = {{"customer", "customer"}, {"payment_intent", "payment_intent"}},
       .references = {{"customer", "customer"}, {"payment_intent", "payment_intent"}}},
      {.type = "event",
       .object = "event",
       .path = "events",
       .id_prefix = "evt_",
       .permission = "rak_event_read"},
  };
}

}  // namespace

const std::vector<Resource>& catalog() {
  static const std::vector<Resource> kCatalog = make_catalog();
  return kCatalog;
}

const Resource* find_resource(std::string_view type) {
  for (const Resource& row : catalog()) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

const Resource* find_resource_by_path(std::string_view path) {
  if (path.empty()) return nullptr;
  for (const Resource& row : catalog()) {
    if (row.path == path) return &row;
  }
  return nullptr;
}

std::string_view nested_list_name(std::string_view type) {
  if (type == "subscription") return "items";
  if (type == "invoice") return "lines";
  return {};
}

}  // namespace fake_stripe

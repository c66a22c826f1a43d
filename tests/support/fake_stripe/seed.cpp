#include <algorithm>
#include <array>

#include "bodies.hpp"
#include "json_text.hpp"
#include "people.hpp"
#include "seed_money.hpp"
#include "world.hpp"

namespace fake_stripe {
namespace {

constexpr std::int64_t kDayS = 24 * 3600;
constexpr std::int64_t kHistoryDays = 400;
constexpr std::size_t kFirstProductPrices = 16;  // enough for one subscription of 15 items
constexpr std::array<std::string_view, 7> kCurrencies = {"usd", "eur", "jpy", "bhd",
                                                         "usd", "gbp", "usd"};
constexpr std::array<std::string_view, 6> kCities = {"Berlin", "München", "Łódź",
                                                     "Oslo",   "Málaga",  "Kyoto"};

/// What a subscription or an invoice line needs to know of a price.
struct SeededPrice {
  const Object* object = nullptr;
  std::string product;
  std::string currency;
  std::string decimal;
  std::int64_t unit_amount = 0;
};

struct SeededCustomer {
  std::uint64_t index = 0;
  std::string id;
  std::string email;
  std::string name;
  std::int64_t created = 0;
  std::string method;  ///< payment method; empty: none

  [[nodiscard]] Payer payer() const { return {id, method, email, name}; }
};

/// Builds the seeded world. Lives for one call of seed_world().
class Seeder {
 public:
  explicit Seeder(World& world) : world_(world), money_(world), now_(world.clock().now_s()) {}

  void run() {
    add_account();
    add_products();
    const std::uint64_t customers = world_.settings().customers;
    money_.add_offers(customers / 20 + 4);
    for (std::uint64_t i = 0; i < customers; ++i) add_customer(i);
    money_.add_payouts();
    for (const Resource& row : catalog()) world_.of(row.type).seal();
  }

 private:
  Dice dice(std::string_view kind, std::uint64_t number) const {
    return {world_.settings().seed, kind, number};
  }

  Object& append(std::string_view type, Object object, const std::vector<Link>& links) {
    object.number = world_.next_number();
    return world_.of(type).append(std::move(object), links);
  }

  void add_account() {
    const std::int64_t created = now_ - (kHistoryDays + 30) * kDayS;
    const std::string& id = world_.account_id();
    append("account", {.id = id, .body = account_body(id, created), .created = created}, {});
  }

  void add_products() {
    const std::uint64_t products = world_.settings().customers / 100 + 5;
    for (std::uint64_t p = 0; p < products; ++p) add_product(p);
  }

  static std::string product_id(std::uint64_t p, Dice& dice) {
    if (p == 0) return "gold-plan";  // ids of products may be chosen by the merchant
    if (p == 1) return "Gold-Plan";
    return dice.token("prod_", 14);
  }

  void add_product(std::uint64_t p) {
    Dice d = dice("product", p);
    const std::string id = product_id(p, d);
    const std::int64_t created = now_ - kHistoryDays * kDayS - d.between(1, 20) * kDayS;
    const std::uint64_t prices = p == 0 ? kFirstProductPrices : 2 + d.below(3);
    std::string first_price;
    for (std::uint64_t k = 0; k < prices; ++k) {
      const std::string price = add_price(p, k, id, created);
      if (k == 0 && p % 6 != 5) first_price = price;
    }
    const ProductSpec spec{.id = id,
                           .created = created,
                           .name = "Plan Nº " + std::to_string(p),
                           .default_price = first_price,
                           .active = p % 9 != 8};
    append("product", {.id = id, .body = product_body(spec), .created = created}, {});
  }

  std::string add_price(std::uint64_t p, std::uint64_t k, const std::string& product,
                        std::int64_t created) {
    Dice d = dice("price", p * 100 + k);
    PriceSpec spec{.id = p == 0 && k == 0 ? "legacy_plan_gold" : d.token("price_1", 23),
                   .created = created + static_cast<std::int64_t>(k / 2),
                   .product = product,
                   .currency = std::string(kCurrencies[p % kCurrencies.size()])};
    spec.yearly = k % 2 == 1;
    spec.active = k % 7 != 6;
    set_amount(spec, k, d);
    Object& price =
        append("price", {.id = spec.id, .body = price_body(spec), .created = spec.created},
               {{"product", product}});
    prices_[spec.currency].push_back({.object = &price,
                                      .product = product,
                                      .currency = spec.currency,
                                      .decimal = spec.unit_amount_decimal,
                                      .unit_amount = spec.unit_amount.value_or(0)});
    return spec.id;
  }

  static void set_amount(PriceSpec& spec, std::uint64_t k, Dice& d) {
    if (k % 5 == 4) {
      spec.tiered = true;
    } else if (k % 5 == 3) {
      spec.tiered = k % 10 == 8;
      spec.unit_amount_decimal = "0.05";
    } else {
      spec.unit_amount = d.between(1, 200) * 50;
      spec.unit_amount_decimal = std::to_string(*spec.unit_amount);
    }
  }

  /// Ids that hurt: two that differ only in case, and one of the greatest allowed length.
  std::string customer_id(std::uint64_t i) const {
    if (!world_.settings().account_id.empty()) return dice("customer id", i).token("cus_", 14);
    if (i == 8) return "cus_AbCdEfGhIjKlMn";
    if (i == 9) return "cus_aBcDeFgHiJkLmN";
    if (i == 10) return dice("customer id", i).token("cus_", 251);
    return dice("customer id", i).token("cus_", 14);
  }

  /// Every fifth customer came in one of a few imports, all in one second; of the others many
  /// share a second by chance.
  std::int64_t customer_created(std::uint64_t i, Dice& d) const {
    const std::uint64_t imports = std::max<std::uint64_t>(3, world_.settings().customers / 500);
    if (i % 5 == 0) {
      Dice import = dice("import", d.below(imports));
      return now_ - import.between(2, kHistoryDays) * kDayS;
    }
    const std::int64_t ago = d.between(3600, kHistoryDays * kDayS);
    return now_ - (d.chance(50) ? ago / 21600 * 21600 + 3600 : ago);
  }

  std::string customer_metadata(std::uint64_t i, Dice& d) const {
    if (i % 3 == 0) return "{}";
    JsonText text;
    text.str("crm_id", std::to_string(100000 + i)).str("tier", d.chance(20) ? "gold" : "basic");
    if (i % 17 == 1) text.str("note", "says \"hi\",\n\tor 100 % – ça va 🎉 \\o/");
    return text.take();
  }

  void add_customer(std::uint64_t i) {
    Dice d = dice("customer", i);
    const std::uint64_t seed = world_.settings().seed;
    const Person who = person(seed, i);
    const bool has_address = d.chance(70);
    CustomerSpec spec{.id = customer_id(i),
                      .created = customer_created(i, d),
                      .email = stripe_email(seed, i),
                      .name = i % 41 == 12 ? "" : who.name};
    if (has_address) {
      spec.city = kCities[d.below(kCities.size())];
      spec.line1 = "Lange Straße " + std::to_string(d.between(1, 200));
    }
    spec.metadata = customer_metadata(i, d);
    spec.balance = d.chance(10) ? -d.between(100, 5000) : 0;
    append("customer", {.id = spec.id, .body = customer_body(spec), .created = spec.created}, {});
    SeededCustomer customer{.index = i,
                            .id = spec.id,
                            .email = spec.email.value_or(""),
                            .name = spec.name,
                            .created = spec.created};
    if (i % 40 == 7) add_invoice(customer, nullptr, {}, spec.created + 60, 0);
    if (!d.chance(world_.settings().subscription_percent)) return;
    customer.method = money_.add_methods(i, customer.payer(), spec.created + 30);
    add_subscription(customer);
    money_.add_one_time_sales(i, customer.payer(), spec.created + 90);
  }

  static std::string status_of(Dice& d) {
    const std::uint64_t roll = d.below(100);
    if (roll < 15) return "canceled";
    if (roll < 23) return "trialing";
    if (roll < 28) return "past_due";
    return roll < 29 ? "paused" : "active";
  }

  void add_subscription(const SeededCustomer& customer) {
    const std::uint64_t number = subscriptions_++;
    Dice d = dice("subscription", customer.index);
    const bool many_items = number % 40 == 1;
    SubscriptionSpec spec{.id = d.token("sub_1", 23), .customer = customer.id};
    spec.payment_method = customer.method;
    spec.created = std::min(now_ - 1, customer.created + d.between(0, 5 * kDayS));
    spec.status = status_of(d);
    spec.currency = many_items ? "usd" : kCurrencies[d.below(4)];
    if (spec.status == "canceled") spec.ended = std::min(now_ - 1, spec.created + 40 * kDayS);
    Object& subscription = append("subscription",
                                  {.id = spec.id,
                                   .body = "{}",
                                   .created = spec.created,
                                   .canceled = spec.status == "canceled"},
                                  {{"customer", customer.id}});
    const std::uint64_t items = many_items ? 12 + number / 40 % 4 : 1 + d.below(3);
    const std::vector<SeededPrice> prices = add_items(subscription, spec.currency, items, d);
    spec.latest_invoice = add_invoices(customer, subscription, prices, number, d);
    subscription.body = subscription_body(spec);
  }

  std::vector<SeededPrice> add_items(Object& subscription, const std::string& currency,
                                     std::uint64_t count, Dice& d) {
    const std::vector<SeededPrice>& offered = prices_.at(currency);
    const std::uint64_t first = count > 3 ? 0 : d.below(offered.size());
    std::vector<SeededPrice> used;
    for (std::uint64_t k = 0; k < count; ++k) {
      used.push_back(offered[(first + k) % offered.size()]);
      add_item(subscription, used.back(), d);
    }
    return used;
  }

  void add_item(Object& subscription, const SeededPrice& price, Dice& d) {
    const std::int64_t months = (now_ - subscription.created) / kMonthS;
    const std::int64_t start = subscription.created + months * kMonthS;
    const ItemSpec spec{.id = d.token("si_", 14),
                        .created = subscription.created,
                        .subscription = subscription.id,
                        .price = price.object->id,
                        .product = price.product,
                        .currency = price.currency,
                        .quantity = d.between(1, 9),
                        .period_start = start,
                        .period_end = start + kMonthS};
    Object& item = append("subscription_item",
                          {.id = spec.id,
                           .body = item_body(spec),
                           .created = spec.created,
                           .parent = &subscription,
                           .price = price.object},
                          {});
    subscription.children.push_back(&item);
  }

  /// Gives the id of the last one.
  std::string add_invoices(const SeededCustomer& customer, Object& subscription,
                           const std::vector<SeededPrice>& prices, std::uint64_t number, Dice& d) {
    const std::uint64_t count = 1 + d.below(3);
    std::string last;
    for (std::uint64_t k = 0; k < count; ++k) {
      const std::int64_t at = subscription.created + static_cast<std::int64_t>(k) * kMonthS;
      if (at >= now_) break;
      const std::size_t extra = number % 25 == 0 && k == 0 ? 23 : 0;
      last = add_invoice(customer, &subscription, prices, at, extra);
    }
    return last;
  }

  static std::string invoice_status(std::uint64_t number, Dice& d) {
    if (number % 20 == 5) return "draft";
    const std::uint64_t roll = d.below(100);
    if (roll < 10) return "open";
    if (roll < 12) return "void";
    return roll < 13 ? "uncollectible" : "paid";
  }

  /// `lines_wanted` 0: one per price, or one when there is no subscription.
  std::string add_invoice(const SeededCustomer& customer, Object* subscription,
                          std::vector<SeededPrice> prices, std::int64_t created,
                          std::size_t lines_wanted) {
    const std::uint64_t number = invoices_++;
    Dice d = dice("invoice", number);
    if (prices.empty()) prices.push_back(prices_.at("usd").front());
    InvoiceSpec spec{.id = d.token("in_1", 23),
                     .created = created,
                     .customer = customer.id,
                     .customer_email = customer.email,
                     .customer_name = customer.name,
                     .currency = prices.front().currency};
    std::vector<Link> links = {{"customer", customer.id}};
    if (subscription != nullptr) {
      spec.subscription = subscription->id;
      links.emplace_back("subscription", subscription->id);
    }
    spec.status = invoice_status(number, d);
    if (spec.status != "draft") spec.number = "A1B2C3-" + std::to_string(1000 + number);
    const bool is_sent = spec.status == "open" || (spec.status == "paid" && number % 4 == 0);
    if (is_sent) spec.due = created + 14 * kDayS;
    Object& invoice = append("invoice", {.id = spec.id, .body = "{}", .created = created}, links);
    const std::size_t lines = lines_wanted == 0 ? prices.size() : lines_wanted;
    for (std::size_t k = 0; k < lines; ++k) {
      spec.total += add_line(invoice, subscription, prices[k % prices.size()], k, d);
    }
    invoice.body = invoice_body(spec);
    add_payments(spec, customer, number, d);
    return spec.id;
  }

  std::int64_t add_line(Object& invoice, const Object* subscription, const SeededPrice& price,
                        std::size_t k, Dice& d) {
    const bool from_item = subscription != nullptr && k < subscription->children.size();
    LineSpec spec{.id = d.token("il_1", 23),
                  .invoice = invoice.id,
                  .subscription = subscription == nullptr ? "" : subscription->id,
                  .item = from_item ? subscription->children[k]->id : "",
                  .price = price.object->id,
                  .product = price.product,
                  .currency = price.currency,
                  .unit_amount_decimal = price.decimal,
                  .description = std::to_string(k + 1) + " × Plan",
                  .quantity = d.between(1, 9)};
    spec.amount = price.unit_amount == 0 ? 5 * spec.quantity : price.unit_amount * spec.quantity;
    spec.period_start = invoice.created;
    spec.period_end = invoice.created + kMonthS;
    Object& line = append(
        "invoice_line",
        {.id = spec.id, .body = line_body(spec), .created = invoice.created, .parent = &invoice},
        {});
    invoice.children.push_back(&line);
    return spec.amount;
  }

  void add_payments(const InvoiceSpec& invoice, const SeededCustomer& customer,
                    std::uint64_t number, Dice& d) {
    if (invoice.status != "paid" && invoice.status != "open") return;
    const bool split = number % 23 == 1 && invoice.total > 1;
    const std::int64_t first = split ? invoice.total / 2 : invoice.total;
    add_payment(invoice, customer, first, true, d);
    if (split) add_payment(invoice, customer, invoice.total - first, false, d);
    if (invoice.status == "paid" && number % 30 == 3) {
      money_.add_credit(invoice.id, customer.id, invoice.currency, invoice.total / 2,
                        std::min(now_ - 1, invoice.created + 5 * kDayS));
    }
  }

  void add_payment(const InvoiceSpec& invoice, const SeededCustomer& customer, std::int64_t amount,
                   bool is_default, Dice& d) {
    PaymentSpec spec{.id = d.token("inpay_1", 23),
                     .created = std::min(now_ - 1, invoice.created + 3600),
                     .invoice = invoice.id,
                     .currency = invoice.currency,
                     .status = invoice.status,
                     .amount = amount,
                     .is_default = is_default};
    const bool by_charge = d.chance(10);
    if (d.chance(3)) {  // of another account, or of a time before this one
      (by_charge ? spec.charge : spec.payment_intent) = d.token(by_charge ? "ch_3" : "pi_3", 23);
    } else {
      const Sale sale{.amount = amount,
                      .currency = invoice.currency,
                      .created = spec.created,
                      .succeeds = invoice.status == "paid",
                      .with_intent = !by_charge};
      const Sold sold = money_.sell(customer.payer(), sale, d);
      spec.payment_intent = sold.payment_intent;
      spec.charge = sold.charge;
    }
    std::vector<Link> links = {{"invoice", invoice.id}};
    if (!spec.payment_intent.empty()) {
      links.emplace_back("payment[payment_intent]", spec.payment_intent);
    }
    append("invoice_payment", {.id = spec.id, .body = payment_body(spec), .created = spec.created},
           links);
  }

  World& world_;
  MoneySeeder money_;
  std::int64_t now_;
  std::map<std::string, std::vector<SeededPrice>> prices_;
  std::uint64_t subscriptions_ = 0;
  std::uint64_t invoices_ = 0;
};

}  // namespace

void seed_world(World& world) { Seeder(world).run(); }

}  // namespace fake_stripe

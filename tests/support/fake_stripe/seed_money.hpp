#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "world.hpp"

namespace fake_stripe {

/// Who pays.
struct Payer {
  std::string customer;
  std::string method;
  std::string email;
  std::string name;
};

struct Sale {
  std::int64_t amount = 0;
  std::string currency = "usd";
  std::int64_t created = 0;
  bool succeeds = true;
  bool with_intent = true;
};

/// Exactly one of the two when nothing was dangling: a charge without an intent stands alone.
struct Sold {
  std::string payment_intent;
  std::string charge;
};

/// The part of the seed that money leaves behind: what is sold becomes a payment intent, a charge
/// and a balance transaction, some of it comes back as a refund or a dispute, and the rest is paid
/// out week by week. Lives for one seeding; appends without sealing.
class MoneySeeder {
 public:
  explicit MoneySeeder(World& world) : world_(world), now_(world.clock().now_s()) {}

  /// Coupons (SAVE10 and save10 among them) and their promotion codes.
  void add_offers(std::uint64_t coupons);
  /// One or two payment methods, and a setup intent; gives the first one's id.
  std::string add_methods(std::uint64_t number, const Payer& payer, std::int64_t created);
  Sold sell(const Payer& payer, const Sale& sale, Dice& d);
  /// Checkout sessions in every state, and a guest's charge now and then.
  void add_one_time_sales(std::uint64_t number, const Payer& payer, std::int64_t created);
  void add_credit(const std::string& invoice, const std::string& customer,
                  const std::string& currency, std::int64_t amount, std::int64_t created);
  /// Pays out what was sold. Call it last.
  void add_payouts();

 private:
  Object& append(std::string_view type, Object object, std::vector<Link> links);
  std::string add_transaction(const std::string& type, const std::string& source,
                              const std::string& currency, std::int64_t amount,
                              std::int64_t created);
  void give_back(const Payer& payer, const Sale& sale, const std::string& intent,
                 const std::string& charge, std::int64_t amount, Dice& d);
  void add_dispute(const Sale& sale, const std::string& intent, const std::string& charge, Dice& d);

  struct Week {
    std::int64_t net = 0;
    std::vector<Object*> transactions;
  };

  World& world_;
  std::int64_t now_;
  std::uint64_t transactions_ = 0;
  std::uint64_t credits_ = 0;
  std::map<std::pair<std::string, std::int64_t>, Week> weeks_;
};

}  // namespace fake_stripe

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace fake_stripe {

class World;

/// The API version that an object is shown in, as far as shapes differ by it.
class Shape {
 public:
  explicit Shape(std::string_view version) : day_(version.substr(0, 10)) {}

  /// True for versions older than `day` ("2025-03-31").
  [[nodiscard]] bool before(std::string_view day) const { return day_ < day; }
  /// True when objects are shown as they are stored.
  [[nodiscard]] bool is_current() const { return !before("2026-07-29"); }

 private:
  std::string day_;
};

/// Turns an object of `type`, in the shape it is stored in, into what `shape` shows.
void make_older(const World& world, std::string_view type, nlohmann::json& tree,
                const Shape& shape);

}  // namespace fake_stripe

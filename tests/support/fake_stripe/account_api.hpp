#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "faults.hpp"
#include "http_server.hpp"
#include "keys.hpp"
#include "list.hpp"
#include "query.hpp"
#include "render.hpp"
#include "world.hpp"

namespace fake_stripe {

/// A request on its way through.
struct Call {
  std::string request_id;
  std::string version;
  std::string account;  ///< the header's; empty: none
  std::string route;    ///< for the statistics
  Misfortune misfortune;
  bool live = false;        ///< a live key was used
  bool is_page = false;     ///< a list was answered
  std::size_t objects = 0;  ///< on it
  std::string last_id;      ///< of it
};

/// What one account answers: routes, lists, retrieves. Made for one request, which holds the
/// world's lock for as long as it lives.
class AccountApi {
 public:
  AccountApi(World& world, const Keys& keys, const HttpRequest& request, Call& call)
      : world_(world), keys_(keys), request_(request), call_(call) {}

  /// The body of the answer; throws ApiError for everything that is not a 200.
  std::string body();

 private:
  std::string test_clocks();
  std::string own_account();
  std::string list(const Resource& row);
  std::string nested(const Resource& row, const std::string& id, const std::string& what);
  std::string list_linked(const Resource& row, std::string_view field, const std::string& id);
  std::string list_children(const Object& parent, std::string_view what);
  std::string list_events();
  std::string retrieve(const Resource& row, const std::string& id);

  std::string render_page(Page page, const Resource& row, const Query& query, std::string_view url);
  std::string render_one(const Found& found, const Resource& row, const Query& query);
  /// Applies the faults that change which objects a page shows.
  void distort(Page& page, const Query& query, const Resource& row) const;
  [[nodiscard]] Json tree_of(const Found& found, const Resource& row, const Shape& shape) const;
  /// Applies the faults that change what an object says.
  void disfigure(Json& tree, const Resource& row, const Shape& shape) const;
  [[nodiscard]] bool disfigures() const;
  [[nodiscard]] std::string padding(std::size_t objects) const;

  [[nodiscard]] std::optional<Place> cursor_of(const Resource& row, const Query& query) const;
  [[nodiscard]] Found require_live(const Resource& row, const std::string& id, int status,
                                   const std::string& param) const;
  [[nodiscard]] Object& require_stored(const Resource& row, const std::string& id,
                                       const std::string& param) const;
  /// What the reference filters leave; nullopt when none is given.
  [[nodiscard]] std::optional<Ordered> narrowed(const Resource& row, const Query& query) const;
  [[nodiscard]] Ordered intersected(const Resource& row, const Query& query) const;
  /// The generated objects of a list; throws when its filters cannot be answered for them.
  [[nodiscard]] const Bulks& bulks_of(const Resource& row, const Query& query) const;
  /// Leaves out what is not listable yet.
  [[nodiscard]] Accepts visible_and(Accepts accepts) const;
  void check_key(std::string_view permission);

  World& world_;
  const Keys& keys_;
  const HttpRequest& request_;
  Call& call_;
};

/// 400, as Stripe says it of events that are older than it keeps them.
ApiError aged_out(const std::string& event);

}  // namespace fake_stripe

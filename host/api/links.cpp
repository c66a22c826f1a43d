#include "api/api.hpp"
namespace sluice::api {
std::span<const Route> link_routes() { return {}; }
}  // namespace sluice::api

// Entities: pages and single ones, of preset and own types.
#include "api/api.hpp"
#include "api/entity_lines.hpp"
#include "api/entity_of_path.hpp"
#include "api/state.hpp"
#include "base/percent.hpp"

#include "feed/entities.hpp"
#include "model/own_entities.hpp"
#include "sync/audit.hpp"

#include <fmt/format.h>

#include <array>
#include <functional>
#include <memory>
#include <utility>

namespace sluice::api {
namespace {

using nlohmann::json;

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  while (at <= text.size() && !text.empty()) {
    const auto comma = std::min(text.find(',', at), text.size());
    if (comma > at) parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

/// The values of an [in], between commas. One that has a comma stands in quotation marks, which are
/// doubled within, as in CSV; so does an empty one.
std::vector<std::string> split_values(const std::string& name, const std::string& text) {
  std::vector<std::string> values;
  const auto refuse = [&name](const char* what) {
    bad_request("filter.bad_value",
                fmt::format("filter {}: {}. Values stand between commas; one with a comma in it, "
                            "or an empty one, in quotation marks: \"a, b\",c,\"\"",
                            name.substr(0, 100), what));
  };
  for (std::size_t at = 0;; ++at) {
    std::string value;
    if (at < text.size() && text[at] == '"') {
      for (++at;; ++at) {
        if (at == text.size()) refuse("a quotation mark is not closed");
        if (text[at] == '"' && (at + 1 == text.size() || text[at + 1] != '"')) break;
        if (text[at] == '"') ++at;
        value += text[at];
      }
      ++at;
      if (at < text.size() && text[at] != ',')
        refuse("something stands behind a closing quotation mark");
    } else {
      const auto comma = std::min(text.find(',', at), text.size());
      value = text.substr(at, comma - at);
      at = comma;
      if (value.empty()) refuse("a value is empty");
    }
    values.push_back(std::move(value));
    if (at >= text.size()) return values;
  }
}

std::vector<std::string> expansions(const HttpRequest& request) {
  std::vector<std::string> paths;
  for (const auto& [name, value] : request.query) {
    if (name != "expand") continue;
    for (std::string& path : split_list(value)) paths.push_back(std::move(path));
  }
  return paths;
}

feed::Tombstones tombstones(const HttpRequest& request) {
  const std::string deleted = request.parameter("deleted").value_or("exclude");
  if (deleted == "include") return feed::Tombstones::include;
  return deleted == "only" ? feed::Tombstones::only : feed::Tombstones::exclude;
}

/// Every parameter that is not one of the page's own is a filter.
std::vector<feed::Filter> filters(const Call& call) {
  std::vector<feed::Filter> all;
  for (const auto& [name, value] : call.http.query) {
    if (find_parameter(call.route, name) != nullptr) continue;
    const bool is_list = name.ends_with("[in]");
    all.push_back(expect(feed::parse_filter(
        name, is_list ? split_values(name, value) : std::vector<std::string>(1, value))));
  }
  return all;
}

/// The pages behind the first, as lines. Each is read when the client has taken the one before, by
/// a connection that is given back meanwhile; a token that is revoked and a host that stops end it.
class FurtherPages final : public AnswerPieces {
 public:
  FurtherPages(const Call& call, std::string type, feed::ListQuery query, EntityLines lines,
               std::string first)
      : state_(call.state),
        http_(call.http),
        pool_(call.services.pools.asking.share(call.workspace.value)),
        catalog_(call.catalog),
        type_(std::move(type)),
        query_(std::move(query)),
        lines_(std::move(lines)),
        first_(std::move(first)) {}

  Task<std::string> next() override {
    std::string piece = std::exchange(first_, std::string());
    if (piece.empty() && !query_.cursor.empty()) piece = co_await further_page();
    co_return std::move(piece);
  }

 private:
  Task<std::string> further_page() {
    if (state_.stopping) throw Failure(Error(ErrorKind::retry_later, "host.stopping", "it stops"));
    const Result<Principal> still = co_await authenticate(pool_, http_.authorization);
    if (!still) throw Failure(still.error());
    feed::ListQuery query = query_;
    const feed::EntityPage page =
        expect(co_await feed::list_entities(pool_, catalog_, type_, std::move(query)));
    query_.cursor = page.cursor;
    co_return lines_.lines(page.entities);
  }

  State& state_;
  const HttpRequest& http_;
  pg::Pool pool_;
  model::CatalogPtr catalog_;
  std::string type_;
  feed::ListQuery query_;
  EntityLines lines_;
  std::string first_;
};

/// The same question, one page on.
std::string link_to_next(const HttpRequest& request, const std::string& cursor) {
  std::string target = request.path;
  char separator = '?';
  for (const auto& [name, value] : request.query) {
    if (name == "cursor") continue;
    target += fmt::format("{}{}={}", std::exchange(separator, '&'),
                          percent_encoded<std::string>(name), percent_encoded<std::string>(value));
  }
  return fmt::format("<{}{}cursor={}>; rel=\"next\"", target, separator,
                     percent_encoded<std::string>(cursor));
}

/// All of them, or where a limit or a cursor is there a page of them.
Task<HttpResponse> list_as_lines(Call& call, feed::ListQuery query, EntityForm form) {
  const bool csv = form == EntityForm::csv;
  if (query.count) {
    bad_request("request.bad_parameter", "count=true has no place in lines",
                "Ask for it as application/json, with limit=1");
  }
  if (csv && !query.expand.empty()) {
    bad_request("expand.not_in_csv", "other entities have no place in text/csv",
                "Ask for application/x-ndjson, whose lines are whole entities");
  }
  const bool paged = call.http.parameter("limit") || call.http.parameter("cursor");
  if (!paged) query.limit = feed::kEntityPageMax;
  LineWish wish;
  wish.form = form;
  wish.fields = query.fields;
  wish.with_deleted = query.tombstones != feed::Tombstones::exclude;
  wish.for_spreadsheets = call.flag("for_spreadsheets");
  model::CatalogPtr catalog = co_await catalog_of(call);
  const bool begins = query.cursor.empty();
  std::string type = call.part("type");
  feed::ListQuery asked = query;
  const feed::EntityPage page = expect(
      co_await feed::list_entities(call.services.pool, std::move(catalog), type, std::move(asked)));
  const model::StoredType& stored = *call.catalog->find(type);
  EntityLines lines(stored, std::move(wish));
  // The pages of a list are one file when they are put behind one another.
  std::string text = begins ? lines.header() : std::string();
  text += lines.lines(page.entities);
  HttpResponse answer;
  answer.content_type = content_type_of(form, begins);
  if (page.cursor.empty()) {
    answer.body = std::move(text);
  } else if (paged) {
    answer.body = std::move(text);
    answer.headers.emplace_back("Link", link_to_next(call.http, page.cursor));
  } else {
    query.cursor = page.cursor;
    answer.pieces = std::make_unique<FurtherPages>(call, std::move(type), std::move(query),
                                                   std::move(lines), std::move(text));
  }
  co_return answer;
}

Task<HttpResponse> list(Call& call) {
  feed::ListQuery query;
  query.filters = filters(call);
  query.cursor = call.http.parameter("cursor").value_or("");
  query.limit = static_cast<int>(call.limit());
  query.expand = expansions(call.http);
  query.tombstones = tombstones(call.http);
  if (const auto sort = call.http.parameter("sort")) query.sort = expect(feed::parse_sort(*sort));
  query.fields = split_list(call.http.parameter("fields").value_or(""));
  query.count = call.flag("count");
  const EntityForm form = entity_form(call.http.accept);
  if (form != EntityForm::json) co_return co_await list_as_lines(call, std::move(query), form);
  model::CatalogPtr catalog = co_await catalog_of(call);
  feed::EntityPage page = expect(co_await feed::list_entities(
      call.services.pool, std::move(catalog), call.part("type"), std::move(query)));
  json document;
  document["entities"] = std::move(page.entities);
  if (page.count) {
    document["count"] = page.count->rows;
    document["count_exact"] = page.count->exact;
  }
  document["next"] = page.cursor.empty() ? json(nullptr) : json(page.cursor);
  if (!page.hints.empty()) document["hints"] = std::move(page.hints);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> get(Call& call) {
  model::CatalogPtr catalog = co_await catalog_of(call);
  std::vector<std::string> expand = expansions(call.http);
  feed::EntityRef wanted = entity_of_path(call);
  const json entity = expect(co_await feed::get_entity(call.services.pool, std::move(catalog),
                                                       call.part("type"), std::move(wanted),
                                                       std::move(expand), tombstones(call.http)));
  co_return HttpResponse::json(entity);
}

/// The own type of the path; a connector's types are written by their connector only.
const model::StoredType& own_type(const model::Catalog& catalog, const std::string& name) {
  const model::StoredType* type = catalog.find(name);
  if (type == nullptr)
    throw Failure(
        Error(ErrorKind::not_found, "type.not_found", "there is no entity type '" + name + "'"));
  if (!type->own) {
    throw Failure(Error(ErrorKind::denied, "type.read_only",
                        "'" + name + "' is a connector's type: only its connector writes it"));
  }
  return *type;
}

/// Why an entity was not written, as a problem of the right kind.
[[noreturn]] void refuse(const model::OwnOutcome& outcome, model::OwnMode mode) {
  std::string reasons;
  bool is_taken = false;
  bool is_absent = false;
  bool is_ambiguous = false;
  for (const model::FieldError& error : outcome.errors) {
    if (!reasons.empty()) reasons += "; ";
    if (!error.attribute.empty()) reasons += error.attribute + ": ";
    reasons += error.reason;
    is_taken = is_taken || error.fault == model::FieldFault::duplicate_key;
    is_ambiguous = is_ambiguous || error.fault == model::FieldFault::ambiguous_key;
    is_absent = is_absent ||
                (error.fault == model::FieldFault::missing_key && mode != model::OwnMode::upsert);
  }
  if (is_absent) throw Failure(Error(ErrorKind::not_found, "entity.not_found", std::move(reasons)));
  if (is_taken)
    throw Failure(Error(ErrorKind::conflict, "entity.duplicate_key", std::move(reasons)));
  if (is_ambiguous)
    throw Failure(Error(ErrorKind::conflict, "entity.ambiguous_key", std::move(reasons)));
  throw Failure(Error(ErrorKind::bad_input, "entity.rejected", std::move(reasons)));
}

HttpResponse written(const model::OwnOutcome& outcome, model::OwnMode mode) {
  if (outcome.action == model::OwnAction::rejected) refuse(outcome, mode);
  json document;
  document["id"] = id_text(outcome.id);
  document["action"] = outcome.action == model::OwnAction::inserted  ? "inserted"
                       : outcome.action == model::OwnAction::updated ? "updated"
                                                                     : "unchanged";
  return HttpResponse::json(document, outcome.action == model::OwnAction::inserted ? 201 : 200);
}

using Beside = std::function<void(pg::Pipeline&, const model::OwnOutcome&)>;

/// A line for the one entity that is written: which attributes, never their values.
Beside audit_of(const Call& call, const model::StoredType& type, const json& body) {
  json detail = json::object();
  for (const auto& [attribute, value] : body.items()) detail["attributes"].push_back(attribute);
  return [workspace = call.workspace, actor = call.actor(), name = type.name,
          detail = std::move(detail)](pg::Pipeline& pipeline, const model::OwnOutcome& outcome) {
    const char* action = outcome.action == model::OwnAction::inserted  ? "entity.create"
                         : outcome.action == model::OwnAction::removed ? "entity.delete"
                                                                       : "entity.update";
    pg::Call line = sync::audit_line(workspace, actor, action,
                                     fmt::format("{}/{}", name, outcome.id.value), detail);
    pipeline.add(*line.statement, std::move(line.params));
  };
}

Task<HttpResponse> write(Call& call, model::OwnMode mode, EntityId id) {
  const json body = co_await call.body();
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::StoredType& type = own_type(*catalog, call.part("type"));
  model::OwnItem item;
  item.type = &type;
  item.row.values = body;
  item.row.id = id;
  item.mode = mode;
  item.beside = audit_of(call, type, body);
  const model::OwnOutcome outcome = co_await call.services.writes.write(catalog, std::move(item));
  call.services.engine.kick();
  co_return written(outcome, mode);
}

EntityId id_of(const Call& call) {
  const feed::EntityRef wanted = entity_of_path(call);
  if (!wanted.id)
    bad_request("entity.bad_id", "'" + call.part("id") + "' is no id: a positive number");
  return *wanted.id;
}

Task<HttpResponse> create(Call& call) {
  co_return co_await write(call, model::OwnMode::upsert, EntityId());
}
Task<HttpResponse> update(Call& call) {
  co_return co_await write(call, model::OwnMode::update, id_of(call));
}

Task<HttpResponse> remove(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::StoredType& type = own_type(*catalog, call.part("type"));
  model::OwnItem item;
  item.type = &type;
  item.row.id = id_of(call);
  item.mode = model::OwnMode::remove;
  item.beside = audit_of(call, type, json::object());
  const model::OwnOutcome outcome = co_await call.services.writes.write(catalog, std::move(item));
  if (outcome.action == model::OwnAction::rejected) refuse(outcome, model::OwnMode::remove);
  call.services.engine.kick();
  json document;
  document["deleted"] = true;
  co_return HttpResponse::json(document);
}

constexpr Parameter kExpand{
    .name = "expand",
    .says =
        "other entities along relationships, either way: customer, invoice_line, "
        "subscription.customer",
    .repeats = true};
constexpr Parameter kDeleted{.name = "deleted",
                             .says = "whether deleted ones are among them",
                             .kind = ParameterKind::choice,
                             .choices = "exclude include only"};

constexpr std::array kListQuery = {
    limit_of(50, feed::kEntityPageMax),
    Parameter{.name = "cursor", .says = "where to go on: the next of the page before"},
    Parameter{.name = "sort",
              .says = "one or two attributes, a minus before what is to begin with the greatest: "
                      "status,-created"},
    Parameter{
        .name = "fields",
        .says = "only these attributes, and what the vendor sent beyond them: number,status,extra"},
    Parameter{.name = "count",
              .says = "how many there are on all pages, up to 100000",
              .kind = ParameterKind::flag},
    Parameter{.name = "for_spreadsheets",
              .says = "of CSV: begins with a byte order mark, and texts that a spreadsheet would "
                      "take for formulas have an apostrophe before them",
              .kind = ParameterKind::flag},
    kExpand,
    kDeleted};

constexpr std::array kGetQuery = {
    kExpand, Parameter{.name = "connection", .says = "when two accounts have the vendor's id"},
    Parameter{.name = "by",
              .says = "what the id in the path is, when the vendor's ids are numbers",
              .kind = ParameterKind::choice,
              .choices = "id external_id"},
    kDeleted};

constexpr std::array<Route, 5> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/entities/{type}",
     .access = Access::reader,
     .operation = "listEntities",
     .summary =
         "Entities, in order of id where nothing else is said; every further parameter is a "
         "filter: attribute=value, attribute[gte]=value. As text/csv or application/x-ndjson "
         "all of them, or with limit or cursor a page, whose Link header leads to the next",
     .handler = list,
     .query = kListQuery,
     .filters = true,
     .answer = "EntityPage",
     .problems = "400 filter.* sort.* fields.* expand.* entity.bad_cursor entity.bad_limit 404 "
                 "type.not_found 500 entity.unreadable",
     .produces = "application/json text/csv application/x-ndjson"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/entities/{type}",
     .access = Access::admin,
     .operation = "writeEntity",
     .summary = "Writes one entity of an own type: inserts it, or updates the one with the same "
                "unique value",
     .handler = create,
     .body = "EntityValues",
     .answer = "EntityWritten",
     .status = "200 201",
     .problems = "400 entity.rejected 403 type.read_only 404 type.not_found entity.not_found 409 "
                 "entity.duplicate_key entity.ambiguous_key"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/entities/{type}/{id}",
     .access = Access::reader,
     .operation = "getEntity",
     .summary = "One entity by id or the vendor's id",
     .handler = get,
     .query = kGetQuery,
     .answer = "Entity",
     .problems = "400 expand.* 404 type.not_found entity.not_found 409 entity.ambiguous"},
    {.method = "PATCH",
     .pattern = "/v1/workspaces/{workspace}/entities/{type}/{id}",
     .access = Access::admin,
     .operation = "updateEntity",
     .summary = "Changes attributes of an own entity; null clears",
     .handler = update,
     .body = "EntityValues",
     .answer = "EntityWritten",
     .problems = "400 entity.rejected entity.bad_id 403 type.read_only 404 type.not_found "
                 "entity.not_found 409 entity.duplicate_key entity.ambiguous_key"},
    {.method = "DELETE",
     .pattern = "/v1/workspaces/{workspace}/entities/{type}/{id}",
     .access = Access::admin,
     .operation = "deleteEntity",
     .summary = "Deletes an own entity",
     .handler = remove,
     .answer = "EntityDeleted",
     .problems = "400 entity.bad_id 403 type.read_only 404 type.not_found entity.not_found"},
}};

}  // namespace

std::span<const Route> entity_routes() { return kRoutes; }

}  // namespace sluice::api

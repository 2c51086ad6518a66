// Boost.Beast: one strand of asynchronous calls a connection.
#include "server/http/http_server.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/json.h"

namespace wring {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

constexpr std::size_t kMaxRequest = 16 * 1024;
constexpr auto kIdle = std::chrono::seconds(30);

HttpResponse problem(int status, const std::string& reason, const std::string& detail) {
  return {status, "application/problem+json",
          Json{{"type", "about:blank"},
               {"title", reason},
               {"status", status},
               {"detail", detail},
               {"reason", reason}}
              .dump()};
}

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const HttpHandler& handler)
      : stream_(std::move(socket)), handler_(handler) {}

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxRequest);
    parser_->body_limit(kMaxRequest);
    stream_.expires_after(kIdle);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](beast::error_code failed, std::size_t) { self->on_read(failed); });
  }

 private:
  void on_read(beast::error_code failed) {
    if (failed == http::error::header_limit || failed == http::error::body_limit ||
        failed == http::error::bad_target || failed == http::error::bad_method)
      return write(problem(400, "BAD_REQUEST", "the request is malformed or larger than 16 KiB"), false);
    if (failed) return close();
    const auto& request = parser_->get();
    const bool keep = request.keep_alive();
    if (request.method() != http::verb::get && request.method() != http::verb::head)
      return write(problem(405, "METHOD_NOT_ALLOWED", "only GET is served here"), keep);
    HttpResponse response;
    try {
      response = handler_(std::string(request.target()));
    } catch (...) {
      const Error error = current_error();
      const int status = error.code() == ErrorCode::kNotFound          ? 404
                         : error.code() == ErrorCode::kInvalidArgument ? 400
                                                                       : 500;
      response = problem(status, error.reason(), error.message());
    }
    write(std::move(response), keep);
  }

  void write(HttpResponse response, bool keep) {
    const bool head = parser_ && parser_->is_header_done() && parser_->get().method() == http::verb::head;
    message_ = {};
    message_.version(11);
    message_.result(static_cast<unsigned>(response.status));
    message_.set(http::field::server, "wring");
    message_.set(http::field::content_type, response.content_type);
    message_.set(http::field::cache_control, "no-store");
    message_.set("X-Content-Type-Options", "nosniff");
    message_.keep_alive(keep);
    message_.body() = std::move(response.body);
    message_.prepare_payload();
    if (head) message_.body().clear();
    stream_.expires_after(kIdle);
    http::async_write(stream_, message_,
                      [self = shared_from_this(), keep](beast::error_code failed, std::size_t) {
                        if (failed || !keep) return self->close();
                        self->read();
                      });
  }

  void close() {
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  beast::tcp_stream stream_;
  const HttpHandler& handler_;
  beast::flat_buffer buffer_{2 * kMaxRequest};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> message_;
};

}  // namespace

struct HttpServer::Impl {
  explicit Impl(HttpHandler h) : handler(std::move(h)) {}

  void accept() {
    acceptor.async_accept(asio::make_strand(context), [this](beast::error_code failed, tcp::socket socket) {
      if (failed == asio::error::operation_aborted) return;
      if (!failed) std::make_shared<Connection>(std::move(socket), handler)->read();
      accept();
    });
  }

  HttpHandler handler;
  asio::io_context context;
  tcp::acceptor acceptor{context};
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(const std::string& host, std::uint16_t port, HttpHandler handler)
    : impl_(std::make_unique<Impl>(std::move(handler))) {
  try {
    const tcp::endpoint endpoint(asio::ip::make_address(host), port);
    impl_->acceptor.open(endpoint.protocol());
    impl_->acceptor.set_option(asio::socket_base::reuse_address(true));
    impl_->acceptor.bind(endpoint);
    impl_->acceptor.listen();
  } catch (const boost::system::system_error& e) {
    throw Error(ErrorCode::kUnavailable, "ADDRESS_IN_USE",
                "cannot listen on " + host + ":" + std::to_string(port) + ": " + e.what(), "http",
                "Choose another port, or 0 for a free one.");
  }
  impl_->accept();
  for (int i = 0; i < 2; ++i) impl_->threads.emplace_back([this] { impl_->context.run(); });
}

HttpServer::~HttpServer() {
  impl_->context.stop();
  for (auto& thread : impl_->threads) thread.join();
}

std::uint16_t HttpServer::port() const {
  return impl_->acceptor.local_endpoint().port();
}

}  // namespace wring

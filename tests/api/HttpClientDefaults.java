// The client of the JDK. With its default version, HTTP/2, it offers `Upgrade: h2c` in its first request.
// usage: java HttpClientDefaults.java URL TOKEN

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;
import java.util.function.Supplier;

public class HttpClientDefaults {
    public static void main(String[] arguments) throws Exception {
        var body = "{\"token\":\"" + arguments[1] + "\",\"id\":119}";
        Supplier<HttpRequest.Builder> builder = () -> HttpRequest.newBuilder(URI.create(arguments[0]));
        var right = builder.get().POST(BodyPublishers.ofString(body)).build();
        for (var version : HttpClient.Version.values()) {
            var client = HttpClient.newBuilder().version(version).build();
            for (int call = 0; call < 3; call++) {
                var response = client.send(right, BodyHandlers.ofString());
                System.out.println(version + " " + response.statusCode() + " " + response.body());
            }
            // Without WWW-Authenticate this client drops a 401 and its body.
            var wrong = builder.get().POST(BodyPublishers.ofString("{\"token\":\"wrong\",\"id\":119}"));
            // At least from JDK 17 on, it waits forever if the first response is not 100.
            var large = builder.get().POST(BodyPublishers.ofByteArray(new byte[1_000_000])).expectContinue(true);
            for (var request : List.of(wrong.build(), large.build())) {
                var response = client.send(request, BodyHandlers.ofString());
                System.out.println(version + " " + response.statusCode() + " " + response.body());
            }
        }
    }
}

// The JDK's own client. For a version of HTTP/2, its default, it offers `Upgrade: h2c` with its first request.
// usage: java HttpClientDefaults.java URL TOKEN

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

public class HttpClientDefaults {
    public static void main(String[] arguments) throws Exception {
        var body = "{\"token\":\"" + arguments[1] + "\",\"id\":119}";
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).POST(BodyPublishers.ofString(body)).build();
        for (var version : HttpClient.Version.values()) {
            var client = HttpClient.newBuilder().version(version).build();
            for (int call = 0; call < 3; call++) {
                var response = client.send(request, BodyHandlers.ofString());
                System.out.println(version + " " + response.statusCode() + " " + response.body());
            }
        }
    }
}

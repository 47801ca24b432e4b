import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.FileReader;
import java.util.List;
import java.util.Properties;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.Pipeline;

/** Debezium's embedded engine writing each row to Redis: one pipeline of SET and DEL a batch. */
public class DebeziumToRedis {
    /** Arguments: properties file, Redis port. The key of a row is "table:id", as cdc's default. */
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        try (FileReader reader = new FileReader(args[0])) {
            properties.load(reader);
        }
        Jedis redis = new Jedis("127.0.0.1", Integer.parseInt(args[1]), 60_000);
        DebeziumEngine<ChangeEvent<String, String>> engine =
                DebeziumEngine.create(Json.class)
                        .using(properties)
                        .notifying((records, committer) -> apply(redis, records, committer))
                        .using((success, message, error) -> {
                            if (!success) {
                                System.err.println(message + " " + error);
                            }
                        })
                        .build();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(engine)));
        engine.run();
    }

    private static void apply(
            Jedis redis,
            List<ChangeEvent<String, String>> records,
            DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer)
            throws InterruptedException {
        Pipeline pipeline = redis.pipelined();
        for (ChangeEvent<String, String> record : records) {
            if (record.key() == null || !record.key().startsWith("{\"id\":")) {
                continue; // heartbeats
            }
            String topic = record.destination();
            String id = record.key().substring(6, record.key().length() - 1);
            String key = topic.substring(topic.lastIndexOf('.') + 1) + ":" + id;
            // The converter writes a deletion of a schemaless record as the text null.
            if (record.value() == null || record.value().equals("null")) {
                pipeline.del(key);
            } else {
                pipeline.set(key, record.value());
            }
        }
        pipeline.sync();
        for (ChangeEvent<String, String> record : records) {
            committer.markProcessed(record);
        }
        committer.markBatchFinished();
    }

    private static void close(DebeziumEngine<?> engine) {
        try {
            engine.close();
        } catch (Exception error) {
            System.err.println(error);
        }
    }
}

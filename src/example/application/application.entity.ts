import { Column, CreateDateColumn, Entity, PrimaryGeneratedColumn } from 'typeorm';

/** An application (신청서) that suppliers may submit quotes to, as long as it is open. */
@Entity()
export class Application {
  @PrimaryGeneratedColumn('uuid')
  id: string;

  @Column('text')
  title: string;

  @Column('text', { default: 'OPEN' })
  status: 'OPEN' | 'CANCELLED';

  @CreateDateColumn()
  createdAt: Date;
}
